"""Sockets of agent and operator that had no descriptor for who connected serve again once there is one."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAMS = {
    "agent-probes": """
import asyncio, sys
from quilt_health import HealthServer

async def main():
    server = HealthServer(lambda: (), lambda: (), lambda: b"")
    print(await server.start("127.0.0.1:0"), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
""",
    "agent-sockets": """
import asyncio, sys
from quilt_pim.counters import Counters
from quilt_pim.unix import UnixServer

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"ok")

async def main():
    path = sys.argv[1] + "/control.sock"
    server = UnixServer(path, serve, str.encode, Counters(), limit=4096, gid=None)
    await server.start()
    print(path, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
""",
    "operator-probes": """
import asyncio, socket, sys
from quilt_operator.probes import Probes

async def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await Probes(f"127.0.0.1:{port}").start()
    print(port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
""",
}


def connect(where: str) -> socket.socket:
    if where.isdecimal():
        return socket.create_connection(("127.0.0.1", int(where)), timeout=60)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(where)
    return client


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_who_connects_while_no_descriptor_is_left_is_served_afterwards(name: str, tmp_path: Path) -> None:
    """t22: Probes and control sockets of agent and operator outlive a want of descriptors as well."""
    command = [sys.executable, "-c", PROGRAMS[name], str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            where = process.stdout.readline().strip()
            before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            with connect(where) as waiting:
                waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
                time.sleep(0.5)  # the fault lasts a while: no event tells that it was met
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
                assert b"ok" in waiting.recv(4096)
        finally:
            process.kill()

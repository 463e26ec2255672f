"""gRPC still knows the two switches by which both ends poll their sockets themselves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SERVE = """
import asyncio, os, sys
import quilt_proto
really = quilt_proto.poll_directly
def poll_directly():
    assert "grpc" not in sys.modules, "too late"
    really()
quilt_proto.poll_directly = poll_directly
import {module}
import grpc.aio
print("polls", os.environ.get("GRPC_EXPERIMENTS"), file=sys.stderr)
async def main():
    server = grpc.aio.server()
    server.add_insecure_port("unix-abstract:quilt-test-%d" % os.getpid())
    await server.start()
    await server.stop(0)
asyncio.run(main())
"""


def errors_of(module: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    command = [sys.executable, "-c", SERVE.format(module=module)]
    return subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True
    ).stderr


@pytest.mark.parametrize("module", ["quilt_runtime.services.server", "quilt_nodeagent.executor.link"])
def test_the_switches_are_known(module: str) -> None:
    errors = errors_of(module)
    assert "polls -event_engine_client,-event_engine_listener" in errors
    assert "Unknown experiment" not in errors


def test_unknown_ones_would_be_reported() -> None:
    assert "Unknown experiment: no_such" in errors_of("grpc", GRPC_EXPERIMENTS="-no_such")

"""Numbered datagrams both ways, each millisecond, and which of them never arrived.

Run in a pod: `python -m tests.support.numbered serve|connect HOST PORT`. Whoever serves sends to all who sent
something. A line of standard input ends the sending; the next one is answered by what was sent to and got
from whom.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.namespaces import Namespace

PAUSE_S = 0.001
NUMBER = struct.Struct("!Q")
_RECEIVE_BUFFER = 33  # SO_RCVBUFFORCE, which Python has no name for


class Numbered:
    """One end, in a pod, until it is closed."""

    def __init__(self, pod: Namespace, mode: str, host: str, port: int) -> None:
        command = ["ip", "netns", "exec", pod.name, sys.executable, "-m", "tests.support.numbered"]
        pipe, root = subprocess.PIPE, Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [*command, mode, host, str(port)], cwd=root, stdin=pipe, stdout=pipe, text=True
        )
        assert self._line() == "ready", f"{mode} {host}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> None:
        """Send nothing more."""
        self._say()
        assert self._line() == "ended"

    def report(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many were sent to whom, and how many different ones came from whom."""
        self._say()
        sent, got = json.loads(self._line())
        return sent, got

    def _say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _run(mode: str, host: str, port: int) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER, 16 << 20)
    sent: dict[str, int] = {}
    got: dict[str, set[int]] = {}
    peers: dict[str, Any] = {}
    if mode == "serve":
        udp.bind((host, port))
    else:
        peers[host] = (host, port)
    print("ready", flush=True)
    sending, due = True, time.monotonic()
    while True:
        for ready in select.select([udp, sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            if ready is udp:
                data, peer = udp.recvfrom(64)
                peers[peer[0]] = peer
                got.setdefault(peer[0], set()).add(*NUMBER.unpack(data))
            elif not sys.stdin.readline():
                return
            elif sending:
                sending = False
                print("ended", flush=True)
            else:
                counts = {name: len(numbers) for name, numbers in got.items()}
                print(json.dumps((sent, counts)), flush=True)
        if time.monotonic() >= due:
            due = time.monotonic() + PAUSE_S
            for name, address in peers.items() if sending else ():
                udp.sendto(NUMBER.pack(sent.get(name, 0)), address)
                sent[name] = sent.get(name, 0) + 1


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2], int(sys.argv[3]))

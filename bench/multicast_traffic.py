"""Traffic for the churn of members: who sends and who receives are processes of their own, and keep a record.

`python -m bench.multicast_traffic send|receive NAMESPACES FILE`: in the comma-separated namespaces, until
SIGTERM; then the record is written. Sending never catches up: a burst after a pause of the machine would
measure queues. Receiving uses the kernel's time of arrival, and a buffer that outlasts any pause of the
process: what is missing in its record did not arrive.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

from bench.netns import inside

PORT = 5001
GROUPS = tuple(f"239.78.{number // 250}.{number % 250 + 1}" for number in range(200))
# Packets a second to each group, and the pause between batches in seconds.
RATE, TICK = 5, 0.02
_PACKET = struct.Struct("!HIQ")
_TIMESPEC = struct.Struct("@qq")
# Linux names that Python lacks.
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_BUFFER = 64 << 20


class StopError(Exception):
    """SIGTERM came."""


def sender_of(group: int) -> int:
    """Which of three nodes sends to a group, 0 to 2."""
    return group % 3


def send(namespaces: list[str], record: array[int]) -> None:
    """Send to every group; the record is group, number, nanoseconds since 1970, packet after packet."""
    sockets = [inside(name, _socket) for name in namespaces]
    batch = int(len(GROUPS) * RATE * TICK)
    numbers = [0] * len(GROUPS)
    place, due = 0, time.monotonic()
    while True:
        for _ in range(batch):
            at = time.time_ns()
            sockets[sender_of(place)].sendto(_PACKET.pack(place, numbers[place], at), (GROUPS[place], PORT))
            record.extend((place, numbers[place], at))
            numbers[place] += 1
            place = (place + 1) % len(GROUPS)
        due = max(due + TICK, time.monotonic() - TICK)
        time.sleep(max(0.0, due - time.monotonic()))


def receive(namespaces: list[str], record: array[int]) -> None:
    """Receive whatever a pod is a member of; the record is node, group, number, nanoseconds."""
    selector = DefaultSelector()
    for node, name in enumerate(namespaces):
        sock = inside(name, _socket)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind(("", PORT))
        sock.setblocking(False)
        selector.register(sock, EVENT_READ, (node, sock))
    while True:
        for key, _ in selector.select():
            node, sock = key.data
            with suppress(BlockingIOError):
                while True:
                    data, extra, _, _ = sock.recvmsg(64, 64)
                    seconds, nanoseconds = _TIMESPEC.unpack(extra[0][2])
                    place, number, _ = _PACKET.unpack(data)
                    record.extend((node, place, number, seconds * 1_000_000_000 + nanoseconds))


def read(path: Path) -> array[int]:
    """Read a record back."""
    record = array("Q")
    record.frombytes(path.read_bytes())
    return record


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _stop(*_arguments: object) -> None:
    raise StopError


def main(what: str, namespaces: str, path: str) -> None:
    """Work until SIGTERM."""
    record = array("Q")
    signal.signal(signal.SIGTERM, _stop)
    with suppress(StopError):
        {"send": send, "receive": receive}[what](namespaces.split(","), record)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).write_bytes(record.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Raw netlink sockets: one belongs for ever to the network namespace that it was made in."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

from quilt_netlink import constants as c

TRUNCATED = int(socket.MSG_TRUNC)  # as an enumeration it would cost more than the receiving
_CLONE_NEWNET = 0x40000000
_QUEUES = {c.SO_RCVBUFFORCE: socket.SO_RCVBUF, c.SO_SNDBUFFORCE: socket.SO_SNDBUF}


def open_socket(protocol: int = socket.NETLINK_ROUTE, netns_path: str | None = None) -> socket.socket:
    """Open a socket in the calling thread's network namespace, or in the one at a path.

    A thread of its own enters the namespace and ends there, so that the caller never leaves its own. Raises
    OSError when there is no such namespace or entering it is not allowed.
    """
    if netns_path is None:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    result: list[socket.socket | OSError] = []

    def enter_and_open() -> None:
        try:
            _enter(netns_path)
            result.append(open_socket(protocol))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter_and_open, name="netns-socket")
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _enter(netns_path: str) -> None:
    descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:  # os.setns is Python 3.12's
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}", netns_path)
    finally:
        os.close(descriptor)


def bind(sock: socket.socket) -> None:
    """Give a socket its port where it has none: before, it is sent no notifications."""
    if sock.getsockname()[0] == 0:
        sock.bind((0, 0))


def set_queue(sock: socket.socket, force: int, size: int) -> int:
    """Ask for a queue, beyond the system's limit where we may (`force`); return the size that was given."""
    plain = _QUEUES[force]
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
    return sock.getsockopt(socket.SOL_SOCKET, plain)

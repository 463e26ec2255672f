"""Sockets in other network namespaces: a netlink socket belongs for ever to the namespace it was made in."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

from quilt_netlink.channel import open_socket

_CLONE_NEWNET = 0x40000000


def socket_in(netns_path: str, protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """Open a raw netlink socket in the namespace at a path.

    A thread of its own enters the namespace and ends there, so that the caller never leaves its own. Raises
    OSError when there is no such namespace or entering it is not allowed.
    """
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

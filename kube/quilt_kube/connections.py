"""How every component holds its connections to an API server.

An API server can disappear in two ways that no client is notified of. One whose machine lost power sends
neither FIN nor RST: only TCP itself can notice, by probes that nobody answers (tcp(7)). One whose process
hangs has a kernel that answers them: there the missing bookmark shows it (`listwatch.SILENCE`).
"""

from __future__ import annotations

import socket
from typing import Any, Final

# Seconds.
CONNECT: Final = 5.0
"""A working server accepts a connection within this time; the next attempt may be led to another one."""
_FIRST_PROBE = 6
_PROBES_EVERY = 3
# By then unanswered probes, or data that nobody acknowledged, end a connection.
_GIVEN_UP_AFTER = 15


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a socket for an address as getaddrinfo gives it; its connection does not outlive the other end."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    notice_loss(made)
    return made


def notice_loss(connection: socket.socket) -> None:
    """Have a connection end with an error soon after the other end disappeared without a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _FIRST_PROBE),
        (socket.TCP_KEEPINTVL, _PROBES_EVERY),
        (socket.TCP_USER_TIMEOUT, _GIVEN_UP_AFTER * 1000),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)

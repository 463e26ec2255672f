"""How every component holds its connections to an API server. The standard library alone is needed.

An API server can go in two ways that no client is told of. One whose machine lost power sends neither FIN
nor RST: only TCP itself can notice, by probes that nobody answers (tcp(7)). One whose process hangs has a
kernel that answers them: there the missing bookmark tells, which kube-apiserver sends each watch about once a
minute (`bookmarkFrequency` of its storage cacher).
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

# Seconds.
SILENCE: Final = 70.0
"""A watch on which nothing came for so long, be it a bookmark, has no API server behind it."""
CONNECT: Final = 5.0
"""A server that is there takes a connection within this time; the next attempt may be led to another one."""
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
    """Have a connection end with an error soon after the other end went without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _FIRST_PROBE),
        (socket.TCP_KEEPINTVL, _PROBES_EVERY),
        (socket.TCP_USER_TIMEOUT, _GIVEN_UP_AFTER * 1000),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def trust_as_kubectl(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a TLS context accept the authorities that kubectl accepts; return it.

    Python 3.13 refuses certificates without key identifiers or key usage (VERIFY_X509_STRICT), and many
    clusters' authorities have none. Chains, names and times are verified all the same.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context

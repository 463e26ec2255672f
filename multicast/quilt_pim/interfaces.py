"""Facts about interfaces that neighbors and PIM depend on, read from the kernel when they are needed."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from quilt_pim.core.validate import ControlError

# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_IFF_MULTICAST = 0x1000
_IFREQ = struct.Struct("16s24s")
_FLAGS = struct.Struct("=16sH22x")


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface as it is now; `address` is its primary IPv4 address, None without one."""

    name: str
    index: int
    multicast: bool
    address: str | None


def look(name: str) -> Interface:
    """Read an interface; ControlError when no interface has that name."""
    try:
        index = socket.if_nametoindex(name)
    except OSError as error:
        raise ControlError(f"There is no interface {name!r} on this node") from error
    request, address = _IFREQ.pack(name.encode(), b""), None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            _, flags = _FLAGS.unpack(fcntl.ioctl(probe, _SIOCGIFFLAGS, request))
        except OSError as error:
            raise ControlError(f"Interface {name!r} went away") from error
        with suppress(OSError):
            # struct sockaddr_in: family, port, address.
            address = socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24])
    return Interface(name, index, bool(flags & _IFF_MULTICAST), address)


def multicast(name: str) -> Interface:
    """Read an interface that must be able to carry multicast; ControlError otherwise."""
    found = look(name)
    if not found.multicast:
        raise ControlError(
            f"Interface {name!r} has multicast off; turn it on with `ip link set {name} multicast on`"
        )
    return found

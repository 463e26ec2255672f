"""Checks of everything that comes from outside: addresses, groups, prefixes, interface names, tags.

Each returns the canonical spelling or raises ControlError naming the field.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar

MAX_TAG = 128
MAX_U32 = 0xFFFF_FFFF
# IFNAMSIZ less the terminating zero byte.
MAX_INTERFACE = 15
MESH_TAG = "quilt-mesh/"
_SHOWN = 60

Parsed = TypeVar("Parsed")


class ControlError(Exception):
    """A request that cannot be done; the text says what, about which object, and what to do.

    One type for everything that a caller can do wrong.
    """


def shown(value: object) -> str:
    """A value as it may stand in an error or a log line: quoted and not longer than a line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def unicast(field: str, text: str) -> str:
    """An IPv4 address that one host can have."""
    address = _read(field, text, IPv4Address, "an IPv4 address")
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ControlError(f"{field}: {address} is not the address of a host")
    return str(address)


def group(field: str, text: str) -> str:
    """An IPv4 multicast address."""
    address = _read(field, text, IPv4Address, "an IPv4 address")
    if not address.is_multicast:
        raise ControlError(f"{field}: {address} is not a multicast group; groups are in 224.0.0.0/4")
    return str(address)


def host(field: str, text: str) -> str:
    """An IPv4 or IPv6 unicast address: a source whose upstream is looked up."""
    address = _read(field, text, ip_address, "an IP address")
    if address.is_multicast or address.is_unspecified or getattr(address, "scope_id", None):
        raise ControlError(f"{field}: {address} is not the address of a source")
    return str(address)


def prefix(field: str, text: str) -> IPv4Network | IPv6Network:
    """An address or a prefix of sources; host bits set are an error."""
    network = _read(field, text, ip_network, "an address or prefix: {}")
    if network.is_multicast:
        raise ControlError(f"{field}: {network} is multicast; sources are unicast")
    return network


def interface(field: str, text: str) -> str:
    """A name that the kernel accepts for an interface; whether it exists is another question."""
    good = 0 < len(text.encode("utf-8", "replace")) <= MAX_INTERFACE and text not in (".", "..")
    if not good or any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise ControlError(
            f"{field}: {shown(text)} is not an interface name (1 to {MAX_INTERFACE} characters, no '/', ':' "
            "or space)"
        )
    return text


def tag(field: str, text: str) -> str:
    """A caller's label; the mesh's own prefix is reserved."""
    if len(text) > MAX_TAG or not text.isprintable():
        raise ControlError(f"{field}: {shown(text)} must be at most {MAX_TAG} printable characters")
    if text.startswith(MESH_TAG):
        raise ControlError(f"{field}: {MESH_TAG}… is what the mesh's own peers are called; choose another")
    return text


def number(field: str, value: int, low: int, high: int) -> int:
    """An integer in a range, both ends included."""
    if isinstance(value, bool) or not low <= value <= high:
        raise ControlError(f"{field}: {shown(value)} is out of range; {low} to {high} are allowed")
    return value


def u32(field: str, value: int) -> int:
    """An integer of 32 bits, as priorities and metrics are."""
    return number(field, value, 0, MAX_U32)


def _read(field: str, text: object, parse: Callable[[str], Parsed], what: str) -> Parsed:
    # ipaddress accepts integers and bytes too, and quotes all of a long text in its errors.
    if not isinstance(text, str) or len(text) > _SHOWN:
        raise ControlError(f"{field}: {shown(text)} is not an address")
    try:
        return parse(text)
    except ValueError as error:
        raise ControlError(f"{field}: {shown(text)} is not {what.format(error)}") from error

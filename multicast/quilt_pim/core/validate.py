"""Checks of everything that comes from outside: addresses, groups, prefixes, interface names, tags.

Each returns the canonical spelling or raises ControlError naming the field.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from quilt_pim.core.errors import ControlError

MAX_TAG = 128
MAX_U32 = 0xFFFF_FFFF
# IFNAMSIZ less the terminating zero byte.
MAX_INTERFACE = 15
MESH_TAG = "quilt-mesh/"
_SHOWN = 60


def shown(value: object) -> str:
    """A value as it may stand in an error or a log line: quoted and not longer than a line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def unicast(field: str, text: str) -> str:
    """An IPv4 address that one host can have."""
    address = _ipv4(field, text)
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ControlError(f"{field}: {address} is not the address of a host")
    return str(address)


def group(field: str, text: str) -> str:
    """An IPv4 multicast address."""
    address = _ipv4(field, text)
    if not address.is_multicast:
        raise ControlError(f"{field}: {address} is not a multicast group; groups are in 224.0.0.0/4")
    return str(address)


def host(field: str, text: str) -> str:
    """An IPv4 or IPv6 unicast address: a source whose upstream is looked up."""
    try:
        address = ip_address(_bounded(field, text))
    except ValueError as error:
        raise ControlError(f"{field}: {shown(text)} is not an IP address") from error
    if address.is_multicast or address.is_unspecified or getattr(address, "scope_id", None):
        raise ControlError(f"{field}: {address} is not the address of a source")
    return str(address)


def prefix(field: str, text: str) -> IPv4Network | IPv6Network:
    """An address or a prefix of sources; host bits set are an error."""
    try:
        network = ip_network(_bounded(field, text))
    except ValueError as error:
        raise ControlError(f"{field}: {shown(text)} is not an address or prefix: {error}") from error
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


def _ipv4(field: str, text: str) -> IPv4Address:
    try:
        return IPv4Address(_bounded(field, text))
    except (AddressValueError, ValueError) as error:
        raise ControlError(f"{field}: {shown(text)} is not an IPv4 address") from error


def _bounded(field: str, text: object) -> str:
    # ipaddress accepts integers and bytes too, and quotes all of a long text in its errors.
    if not isinstance(text, str) or len(text) > _SHOWN:
        raise ControlError(f"{field}: {shown(text)} is not an address")
    return text

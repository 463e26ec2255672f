"""Messages of the kernel as plain dictionaries: what all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Plain = dict[str, Any]
Names = Mapping[int, str]
"""Devices by their index."""

_FAMILIES = {2: "inet", 7: "bridge", 10: "inet6", 128: "ipmr", 129: "ip6mr"}


def present(**fields: Any) -> Plain:
    """What a message says: what it does not is None, and has no key."""
    return {name: value for name, value in fields.items() if value is not None}


def family(message: Any) -> str | int:
    """The address family of a message, as `ip` names it."""
    return _FAMILIES.get(message["family"], int(message["family"]))


def flags(bits: int, names: Mapping[int, str]) -> list[str]:
    """The names of the bits that are set."""
    return [name for bit, name in names.items() if bit and bits & bit]


def attributes(nested: Any, prefix: str) -> Plain:
    """What a nested attribute holds, by names without `prefix` and in small letters; nothing of None."""
    found = {}
    for name, value in (one[:2] for one in (nested or {}).get("attrs", ())):
        if name != "UNKNOWN":
            found[name.removeprefix(prefix).lower()] = _value(value, prefix)
    return found


def _value(value: Any, prefix: str) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict) and "attrs" in value:
        return attributes(value, prefix)
    return value

"""Whether the VXLAN device is as it must be, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Device:
    """A VXLAN device: `index` and `lower` (the interface it is bound to) are kernel indexes, 0 for none.

    `addrgenmode` 1 is "none"; a device without it would answer IPv6 on the overlay from a link-local address.
    """

    name: str
    vni: int
    port: int
    local: str
    mac: str
    mtu: int
    learning: bool = False
    lower: int = 0
    addrgenmode: int = 1
    up: bool = True
    kind: str = "vxlan"
    index: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted device and its addresses (`10.42.1.0/32`); None leaves the addresses as they are."""

    device: Device
    addresses: frozenset[str] | None


class NotYetError(Exception):
    """Something that the dataplane rests on is not known yet; the text says what is waited for."""


class Care(StrEnum):
    """What a device needs."""

    NOTHING = "nothing"
    CREATE = "create"
    MEND = "mend"
    RECREATE = "recreate"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a device, and which differences led to it (`mtu 1500, want 1450`)."""

    care: Care
    differences: tuple[str, ...] = ()


# The kernel fixes these when a device is made; everything else it can change while traffic flows (a kernel
# that refuses, as for a local address of the other family, gets a new device).
_FIXED = ("vni", "port", "lower")
_MENDABLE = ("local", "learning", "mac", "mtu", "addrgenmode", "up")


def judge(wanted: Device, held: Device | None) -> Verdict:
    """Compare the device of our name with the wanted one."""
    if held is None:
        return Verdict(Care.CREATE)
    if held.kind != "vxlan":
        what = f"{held.name} is a {held.kind or 'physical'} device that is not ours; remove or rename it"
        return Verdict(Care.REFUSE, (what,))
    fixed = _differences(_FIXED, wanted, held)
    mendable = _differences(_MENDABLE, wanted, held)
    if fixed:
        return Verdict(Care.RECREATE, fixed + mendable)
    return Verdict(Care.MEND, mendable) if mendable else Verdict(Care.NOTHING)


def clash(wanted: Device, others: Iterable[Device]) -> str | None:
    """Name another device that holds our VNI on our port, for the kernel lets only one come up."""
    for other in others:
        same = (other.kind, other.vni, other.port) == ("vxlan", wanted.vni, wanted.port)
        if same and other.name != wanted.name and other.mac != wanted.mac:
            return (
                f"device {other.name} already uses VNI {other.vni} on UDP port {other.port}; "
                "remove it, or give the QuiltNetwork another spec.vxlan.vni or port"
            )
    return None


def former(wanted: Device, others: Iterable[Device]) -> list[Device]:
    """Return our VXLAN devices (by the derived MAC) that have another name: renamed, or of old settings."""
    ours = ("vxlan", wanted.mac)
    return [other for other in others if (other.kind, other.mac) == ours and other.name != wanted.name]


def _differences(fields: tuple[str, ...], wanted: Device, held: Device) -> tuple[str, ...]:
    pairs = ((field, getattr(held, field), getattr(wanted, field)) for field in fields)
    return tuple(f"{field} {is_!r}, want {want!r}" for field, is_, want in pairs if is_ != want)

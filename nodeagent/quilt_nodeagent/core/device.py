"""Whether the VXLAN device is as it must be, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from quilt_netlink.state import ADDRGENMODE_NONE, Link


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted device and its addresses (`10.42.1.0/32`); None leaves the addresses as they are."""

    device: Link
    addresses: frozenset[str] | None


class NotYetError(Exception):
    """Something that the dataplane rests on is not known yet; the text says what is waited for."""


Care = Literal["nothing", "create", "repair", "recreate", "refuse"]
"""What a device needs."""

# The kernel fixes these when a device is made; everything else it can change while traffic flows (a kernel
# that refuses, as for a local address of the other family, gets a new device).
_FIXED = frozenset({"vni", "port", "device"})


def judge(wanted: Link, held: Link | None) -> tuple[Care, Sequence[str]]:
    """Return what the device of our name needs, and for which differences (`mtu 1500, want 1450`)."""
    if held is None:
        return "create", ()
    if held.kind != wanted.kind:
        what = f"{held.name} is a foreign {held.kind or 'physical'} device; remove or rename it"
        return "refuse", (what,)
    want, is_ = _settings(wanted), _settings(held)
    differ = [name for name in want if want[name] != is_.get(name)]
    if not differ:
        return "nothing", ()
    reasons = [f"{name} {is_.get(name)!r}, want {want[name]!r}" for name in differ]
    return "repair" if _FIXED.isdisjoint(differ) else "recreate", reasons


def clash(wanted: Link, others: Iterable[Link]) -> str | None:
    """Name another device that holds our VNI on our port, for the kernel lets only one come up."""
    for other in others:
        own, theirs = wanted.vxlan, other.vxlan
        if not own or not theirs or other.kind != wanted.kind or other.name == wanted.name:
            continue
        if (theirs.vni, theirs.port) == (own.vni, own.port) and other.mac != wanted.mac:
            return (
                f"device {other.name} already uses VNI {theirs.vni} on UDP port {theirs.port}; "
                "remove it, or give the QuiltNetwork another spec.vxlan.vni or port"
            )
    return None


def former(wanted: Link, others: Iterable[Link]) -> list[Link]:
    """Return our devices (by the derived MAC) that have another name: renamed, or of old settings."""
    own = (wanted.kind, wanted.mac)
    return [other for other in others if (other.kind, other.mac) == own and other.name != wanted.name]


def _settings(link: Link) -> dict[str, object]:
    """What is compared of a device, its overlay's parameters first.

    Without `addrgenmode` none it would answer IPv6 on the overlay from a link-local address; hosts without
    IPv6 report nothing there, and generate nothing either.
    """
    mode = ADDRGENMODE_NONE if link.addrgenmode is None else link.addrgenmode
    own = {"mac": link.mac, "mtu": link.mtu, "addrgenmode": mode, "up": link.up}
    return {**(asdict(link.vxlan) if link.vxlan else {}), **own}

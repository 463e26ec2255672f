"""A packet as firewalls see it, and what a firewall comes to for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from fnmatch import fnmatchcase

from quilt_cli.core.trace.kernel import Address


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection; `state` is conntrack's word, `iif` and `oif` empty where none is.

    `vni` is that of a packet of the overlay.
    """

    iif: str
    oif: str
    source: Address
    target: Address
    protocol: str
    port: int = 0
    state: str = "new"
    vni: int | None = None


@unique
class Fate(Enum):
    """What becomes of a packet: it passes, is dropped, or that depends on what cannot be read here."""

    PASSES = "passes"
    DROPPED = "dropped"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a firewall comes to, and the rule or policy that decides; of what is unclear the rule in doubt."""

    fate: Fate
    rule: str = ""


PASSES = Outcome(Fate.PASSES)


def both(one: bool | None, other: bool | None) -> bool | None:
    """Whether both hold; None where that is unknown."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def negated(value: bool | None, negative: bool) -> bool | None:
    """The opposite where `negative`; what is unknown stays so."""
    return value if value is None or not negative else not value


def named(device: str, pattern: str, wildcard: str) -> bool:
    """Whether a device has this name, or one that begins so where the pattern ends in the wildcard."""
    if pattern.endswith(wildcard):
        return fnmatchcase(device, f"{pattern[: -len(wildcard)]}*")
    return device == pattern

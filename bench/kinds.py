"""What traffic is made between pods, which figures are read from it, and what a result must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.mesh import BESIDE, OTHER
from bench.traffic import BITS, Reached, Traffic

FLANNEL, QUILT, HOST, HANDMADE = "Flannel", "Quilt Mesh", "host to host", "made by hand"
OFF = "policies off"
VARIANTS = {"guard": "without the guard", "untracking": "without untracking"}
OTHERS = (FLANNEL, HANDMADE, OFF, HOST, *VARIANTS.values())
"""With whom a result is compared; the variants are Quilt Mesh without a part of it."""
MORE: Literal["more"] = "more"
LESS: Literal["less"] = "less"


@dataclass(frozen=True)
class Figure:
    """One figure of a kind of traffic."""

    what: str
    unit: str
    better: Literal["more", "less"]
    of: Callable[[Reached], float]


@dataclass(frozen=True)
class Kind:
    """One kind of traffic, and what is read from it."""

    what: str
    traffic: Traffic
    figures: tuple[Figure, ...]


def _streams(count: int) -> Kind:
    what = f"TCP, {count} stream{'s' if count > 1 else ''}"
    rate = Figure(what, "Gbit/s", MORE, lambda found: found.rate * BITS)
    used = Figure(f"{what}, processors", "ms/Gbit", LESS, lambda found: found.used_by_all / BITS * 1e-6)
    return Kind(what, Traffic("stream", count), (rate, used))


def _datagrams(size: str, name: str) -> Kind:
    what = f"UDP, {size} bytes"
    return Kind(
        what, Traffic(name), (Figure(what, "thousand packets/s", MORE, lambda found: found.rate * 1e-3),)
    )


def _latency(what: str, name: str) -> Kind:
    p50 = Figure(f"{what}, p50", "us", LESS, lambda found: found.p50)
    return Kind(what, Traffic(name), (p50, Figure(f"{what}, p99", "us", LESS, lambda found: found.p99)))


STREAMS = (_streams(1), _streams(4), _streams(16))
RR, CRR = _latency("request-response", "rr"), _latency("connect-request-response", "crr")
KINDS = (*STREAMS, _datagrams("64", "udp"), _datagrams("1,400", "large"), RR, CRR)
FEW = (STREAMS[0], KINDS[3], RR, CRR)
"""Those that are made to places where less is to be seen."""
_BESIDE_FLANNEL = {
    OTHER: {RR.figures[1].what: 1.0, CRR.figures[1].what: 1.1},
    BESIDE: {STREAMS[0].figures[0].what: 1.0, RR.figures[0].what: 1.05},
}
_ALONE = 0.99
"""Least share of what the kernel alone does that must be reached, in either direction."""


def target(figure: Figure, place: str, against: str) -> float | None:
    """What the ratio must reach; None where nothing is asked."""
    if against == HANDMADE and place in (OTHER, BESIDE) and figure.unit != "ms/Gbit":
        return _ALONE if figure.better == MORE else round(1 / _ALONE, 2)
    if against != FLANNEL:
        return None
    if place == OTHER:
        return _BESIDE_FLANNEL[place].get(figure.what, 1.0)
    return _BESIDE_FLANNEL.get(place, {}).get(figure.what)

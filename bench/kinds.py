"""What traffic is made between pods, which figures are read from it, and what a result must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.traffic import BITS, Reached

FLANNEL, QUILT, HOST, HANDMADE = "Flannel", "Quilt Mesh", "host to host", "made by hand"
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
    """One kind of traffic, by the name that the traffic's program has for it."""

    what: str
    name: str
    figures: tuple[Figure, ...]
    streams: int = 1


def _streams(count: int) -> Kind:
    what = f"TCP, {count} stream{'s' if count > 1 else ''}"
    rate = Figure(what, "Gbit/s", MORE, lambda found: found.rate * BITS)
    used = Figure(f"{what}, processors", "ms/Gbit", LESS, lambda found: found.used_by_all / BITS * 1e-6)
    return Kind(what, "stream", (rate, used), count)


def _datagrams(size: str, name: str) -> Kind:
    what = f"UDP, {size} bytes"
    return Kind(what, name, (Figure(what, "thousand packets/s", MORE, lambda found: found.rate * 1e-3),))


def _latency(what: str, name: str) -> Kind:
    p50 = Figure(f"{what}, p50", "us", LESS, lambda found: found.p50)
    return Kind(what, name, (p50, Figure(f"{what}, p99", "us", LESS, lambda found: found.p99)))


STREAMS = (_streams(1), _streams(4), _streams(16))
RR, CRR = _latency("request-response", "rr"), _latency("connect-request-response", "crr")
KINDS = (*STREAMS, _datagrams("64", "udp"), _datagrams("1,400", "large"), RR, CRR)
PLACES = ("other node", "same node", "ClusterIP")
_BESIDE_FLANNEL = {
    "other node": {RR.figures[1].what: 1.0, CRR.figures[1].what: 1.1},
    "same node": {STREAMS[0].figures[0].what: 1.0, RR.figures[0].what: 1.05},
}
_ALONE = 0.99
"""Least share of what the kernel alone does that must be reached, in either direction."""


def target(figure: Figure, place: str, against: str) -> float | None:
    """What the ratio must reach; None where nothing is asked."""
    if against == HANDMADE and place in ("other node", "same node") and figure.unit != "ms/Gbit":
        return _ALONE if figure.better == MORE else round(1 / _ALONE, 2)
    if against != FLANNEL:
        return None
    if place == "other node":
        return _BESIDE_FLANNEL[place].get(figure.what, 1.0)
    return _BESIDE_FLANNEL.get(place, {}).get(figure.what)

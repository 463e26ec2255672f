"""What a node measured, as `quiltctl latency` reads it."""

from __future__ import annotations

from msgspec import Struct

from quilt_probes.core.book import Book
from quilt_probes.core.link import Link


class PeerView(Struct, frozen=True, rename="camel"):
    """One peer: states are ok, failing or unknown; losses from 0 to 1, the round trip in seconds.

    Losses and round trip are of the last minute; the round trip is None where nothing was measured.
    """

    node: str
    inward: str
    outward: str
    narrow: bool
    loss_in: float
    loss_out: float
    round_trip: float | None


class NodeView(Struct, frozen=True, rename="camel"):
    """One node and the peers that it watches now; `reason` says why there are none."""

    node: str
    peers: tuple[PeerView, ...] = ()
    reason: str = ""


def view(book: Book) -> NodeView:
    """Return what a node that probes measured."""
    return NodeView(book.own, tuple(_peer(node, link) for node, link in sorted(book.links.items())))


def _peer(node: str, link: Link) -> PeerView:
    trip = link.round_trip
    return PeerView(
        node=node,
        inward=link.inward,
        outward=link.outward,
        narrow=link.narrow,
        loss_in=round(link.loss_in, 3),
        loss_out=round(link.loss_out, 3),
        round_trip=None if trip is None else round(trip, 6),
    )

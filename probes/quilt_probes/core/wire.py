"""The datagrams between agents: what a node sends its peer, and what it has received from it.

All numbers are big-endian. A datagram of full size is padded with zeros up to the MTU.
"""

from __future__ import annotations

from struct import Struct as Layout

from msgspec import Struct

# Magic, version, flags; run, number, time sent; then of the receiver: run, last number, those before it, the
# last one of full size, the time sent of the last and how long ago it arrived.
_LAYOUT = Layout("!2sBBIIQIIQIQI")
SIZE = _LAYOUT.size
"""Bytes of a probe without padding."""
_MAGIC = b"QP"
_VERSION = 1
_FULL = 1
_MICROSECONDS_32 = 0xFFFFFFFF


class WireError(ValueError):
    """A datagram that is not a probe of this version."""


class Receipt(Struct, frozen=True, gc=False):
    """What a node has received from the peer that it sends this to.

    `run` is the peer's, 0 while nothing came; `last` the highest number that came, and bit k of `bits`
    whether `last - k` did; `full` the highest of full size. `echo` is the time sent of the last as the peer
    wrote it (ns of the peer's clock), `held` how long this node has had it (ns).
    """

    run: int = 0
    last: int = 0
    bits: int = 0
    full: int = 0
    echo: int = 0
    held: int = 0


NOTHING = Receipt()


class Probe(Struct, frozen=True, gc=False):
    """One datagram. `run` is random, new with each start, `number` counts from 1, `sent` in ns."""

    run: int
    number: int
    sent: int
    receipt: Receipt = NOTHING
    full: bool = False


def encode(probe: Probe) -> bytes:
    """Return the datagram, without padding."""
    receipt = probe.receipt
    held = min(max(receipt.held, 0) // 1000, _MICROSECONDS_32)
    return _LAYOUT.pack(
        _MAGIC,
        _VERSION,
        _FULL if probe.full else 0,
        probe.run,
        probe.number,
        probe.sent,
        receipt.run,
        receipt.last,
        receipt.bits,
        receipt.full,
        receipt.echo,
        held,
    )


def decode(data: bytes) -> Probe:
    """Read a datagram, of which padding may be cut off; WireError when it is not a probe of this version."""
    if len(data) < SIZE:
        raise WireError("too short")
    magic, version, flags, run, number, sent, mine, last, bits, full, echo, held = _LAYOUT.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise WireError("another protocol or version")
    if not run or not number:
        raise WireError("without run or number")
    return Probe(run, number, sent, Receipt(mine, last, bits, full, echo, held * 1000), bool(flags & _FULL))

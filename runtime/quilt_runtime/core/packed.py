"""Addresses of a set as one text of bytes: sorted, each once, without separators.

A set of 100,000 is 400 KB so, and a change of one costs no more than a copy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from quilt_netlink.nftsets import Element


def cut(data: bytes, size: int) -> list[bytes]:
    """Return the addresses of this size that lie one after the other; raises ValueError for a rest."""
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes are no whole number of addresses of {size}")
    return [data[at : at + size] for at in range(0, len(data), size)]


def pack(addresses: Iterable[bytes]) -> bytes:
    """Return addresses, in any order, as one text."""
    return b"".join(sorted(set(addresses)))


def changed(held: bytes, size: int, add: Iterable[bytes], remove: Iterable[bytes]) -> bytes:
    """Return addresses with some more and others less; what is there or absent already is fine."""
    data = bytearray(held)
    for address in remove:
        at, found = _place(data, address, size)
        if found:
            del data[at : at + size]
    for address in add:
        at, found = _place(data, address, size)
        if not found:
            data[at:at] = address
    return bytes(data)


def differences(held: bytes, wanted: bytes, size: int) -> tuple[list[bytes], list[bytes]]:
    """Return what comes and what leaves between two texts."""
    if held == wanted:
        return [], []
    begin = _common(held, wanted, size)
    end = _common(held[begin:], wanted[begin:], size, from_end=True)
    old = set(cut(held[begin : len(held) - end], size))
    new = set(cut(wanted[begin : len(wanted) - end], size))
    return sorted(new - old), sorted(old - new)


def joined(ranges: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return ranges (first and last address) as one text of pairs, those that meet as one range."""
    found: list[tuple[bytes, bytes]] = []
    for first, last in sorted(ranges):
        if found and int.from_bytes(first) <= int.from_bytes(found[-1][1]) + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return b"".join(first + last for first, last in found)


def intervals(pairs: bytes, size: int) -> list[Element]:
    """Return ranges as elements: where each begins, and where the addresses behind it begin."""
    found = []
    for pair in cut(pairs, 2 * size):
        found.append(Element(pair[:size]))
        behind = int.from_bytes(pair[size:]) + 1
        if behind < 1 << (8 * size):
            found.append(Element(behind.to_bytes(size), ends=True))
    return found


def ranges(elements: Iterable[Element]) -> bytes:
    """Return the pairs that elements are of, as the kernel has them: the reverse of `intervals`."""
    found: list[bytes] = []
    first: bytes | None = None
    for element in sorted(elements, key=lambda one: (one.key, not one.ends)):
        if first is not None:
            last = int.from_bytes(element.key) - 1
            found.append(first + last.to_bytes(len(first)))
        first = None if element.ends else element.key
    if first is not None:
        found.append(first + b"\xff" * len(first))
    return b"".join(found)


def _place(data: bytearray, address: bytes, size: int) -> tuple[int, bool]:
    """Return where an address is or would be, and whether it is there."""
    count = len(data) // size
    at = size * bisect_left(range(count), address, key=lambda i: bytes(data[i * size : (i + 1) * size]))
    return at, data[at : at + size] == address


def _common(one: bytes, other: bytes, size: int, *, from_end: bool = False) -> int:
    """Return how many bytes of whole addresses two texts have in common, from their begin or end."""

    def alike(count: int) -> bool:
        length = count * size
        return length == 0 or (
            one[-length:] == other[-length:] if from_end else one[:length] == other[:length]
        )

    most = min(len(one), len(other)) // size
    return size * bisect_left(range(most), True, key=lambda i: not alike(i + 1))

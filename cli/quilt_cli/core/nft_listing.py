"""What `nft -j` lists, as plain objects (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec


class _Listing(msgspec.Struct):
    nftables: tuple[dict[str, Any], ...] = ()


def entries(listing: bytes | str) -> list[dict[str, Any]]:
    """Read what nft prints: objects, each below its kind. Raises ValueError for something else."""
    found = msgspec.json.decode(listing, type=_Listing).nftables
    return [entry for entry in found if "metainfo" not in entry]


def of_kind(listed: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    """The objects of one kind: `table`, `chain`, `rule`, `set`."""
    return (entry[kind] for entry in listed if kind in entry)


def packets(rule: Mapping[str, Any]) -> int:
    """What a rule's own counters counted; of a counter that has a name it has no more than that."""
    counts = (item.get("counter") for item in rule.get("expr") or () if isinstance(item, Mapping))
    return sum(int(count.get("packets") or 0) for count in counts if isinstance(count, Mapping))

"""The addresses behind selectors, put together from the slices that the operator writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from quilt_crds.wire_policy import QuiltPeers, complete
from quilt_log import log


class PeerSet(NamedTuple):
    """The pods behind a selector, or with `complement` all others: IPv4 addresses of 4 bytes each."""

    hash: str
    label: str
    selector: str
    v4: bytes
    complement: bool


@dataclass
class PeerSets:
    """Keeps the slices of needed selectors; `put` gets each set that is complete and new or different.

    While one is not complete, and when it is deleted, what it was stays: policies are removed by their own
    watch, and to have lost a set must not cut connections that they allow. Only a set of a family
    (a named port with one of the numbers that it has) is removed when it is deleted.
    """

    put: Callable[[PeerSet], None]
    drop: Callable[[str], None]
    labels: frozenset[str] = field(default=frozenset(), init=False)
    """What is kept: hashes as in the label."""
    _slices: dict[str, dict[int, QuiltPeers]] = field(default_factory=dict, init=False)
    _sets: dict[str, PeerSet] = field(default_factory=dict, init=False)

    @property
    def known(self) -> set[str]:
        """Labels of which at least one set is complete."""
        return {one.label for one in self._sets.values()}

    def keep(self, labels: frozenset[str]) -> None:
        """Keep these alone from now on."""
        self.labels = labels
        for name in [name for name, one in self._sets.items() if one.label not in labels]:
            del self._sets[name]
            self._slices.pop(name, None)
            self.drop(name)

    def listed(self, labels: frozenset[str], items: Iterable[QuiltPeers]) -> None:
        """Take in a complete list of some labels."""
        found: dict[str, dict[int, QuiltPeers]] = {}
        for item in items:
            if item.label in self.labels:
                found.setdefault(item.selector, {})[item.slice] = item
        for name, slices in found.items():
            held = self._slices.get(name, {})
            # Another list, or the watch, may have been faster.
            self._slices[name] = {
                number: max((one, held.get(number, one)), key=_version) for number, one in slices.items()
            }
            self._settle(name)
        for name in [one.hash for one in self._sets.values() if one.label in labels - {one.hash}]:
            if name not in found:
                self._slices[name] = {}
                self._settle(name)

    def rewound(self) -> None:
        """Forget slices, whose versions are of a newer history than what comes; sets stay until then."""
        self._slices.clear()

    def changed(self, events: Sequence[tuple[str, QuiltPeers]]) -> None:
        """Take in events of the watch; those from before a list that was read are passed over."""
        kept = [(kind, item) for kind, item in events if item.label in self.labels]
        for kind, item in kept:
            self._take(kind, item)
        for name in dict.fromkeys(item.selector for _, item in kept):
            self._settle(name)

    def _take(self, kind: str, item: QuiltPeers) -> None:
        slices = self._slices.setdefault(item.selector, {})
        held = slices.get(item.slice)
        if held is not None and _version(held) >= _version(item):
            return
        if kind == "DELETED":
            slices.pop(item.slice, None)
        else:
            slices[item.slice] = item

    def _settle(self, name: str) -> None:
        """Pass a set on if it is complete and not what it was."""
        slices, held = self._slices[name], self._sets.get(name)
        if held is not None and not slices and held.label != name:
            del self._sets[name]
            self.drop(name)
            return
        made = _made(name, slices)
        if made is not None and made != held:
            self._sets[name] = made
            self.put(made)


def _version(item: QuiltPeers) -> int:
    text = item.metadata.resource_version
    return int(text) if text.isdecimal() else 0


def _made(name: str, slices: dict[int, QuiltPeers]) -> PeerSet | None:
    """Return the set that slices make; None while it is not complete."""
    if not complete(slices):
        return None
    first = slices[0]
    try:
        addresses = sorted(one for number in range(first.spec.of) for one in slices[number].spec.addresses)
    except ValueError as error:
        log.warning("peers_unusable", selector=name, error=str(error))
        return None
    v4 = b"".join(address.to_bytes(4, "big") for address in addresses)
    return PeerSet(name, first.label, first.spec.selector, v4, first.spec.complement)

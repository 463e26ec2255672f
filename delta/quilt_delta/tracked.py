"""One table of a kernel: the entries that are desired, and where the kernel is not known to hold them.

    desired only      both, equal       actual only
    [  missing  |  held once, here  |   unwanted   ]    and where both differ: put, the kernel's value beside
       put                              drop

What is as desired is held once, and only the difference is held beside it. So the cost of a pass is that of
what is pending, nothing is compared twice, and equal entries by the thousand are in memory once. The idea is
that of Felix's delta tracker (projectcalico/calico, felix/deltatracker).
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """What leads from the actual state to the desired one.

    `put` is missing or different, with the values to write; `drop` is unwanted, with the values that it has.
    """

    put: dict[K, V] = field(default_factory=dict)
    drop: dict[K, V] = field(default_factory=dict)


class Tracked(Generic[K, V]):
    """Desired and actual entries by key; None in place of a value means: no entry.

    `desired` may be read by anybody and is changed by `want` and `want_all` alone.
    """

    def __init__(self) -> None:
        self.desired: dict[K, V] = {}
        self._differs: dict[K, V | None] = {}
        self._sent: set[K] = set()

    def want(self, key: K, value: V | None) -> None:
        """Desire an entry, another value of it, or that it is not there."""
        held = self.held(key)
        if value is None:
            self.desired.pop(key, None)
        else:
            self.desired[key] = value
        self._set(key, held)

    def want_all(self, desired: Mapping[K, V]) -> None:
        """Desire exactly these entries, which a complete look then makes pending in this order."""
        for key in self.desired.keys() - desired.keys():
            self.want(key, None)
        for key, value in desired.items():
            if self.desired.get(key) != value:
                self.want(key, value)
        self.desired = dict(desired)

    def held(self, key: K) -> V | None:
        """Return the actual entry, as far as is known."""
        return self._differs[key] if key in self._differs else self.desired.get(key)

    def observe(self, key: K, value: V | None) -> None:
        """Note what the kernel has under a key: newer than any answer to what was sent before."""
        self._sent.discard(key)
        self._set(key, value)

    def observe_all(self, actual: Mapping[K, V]) -> None:
        """Note what a complete look has shown."""
        desired = self.desired
        self._sent.clear()
        self._differs = {key: value for key, value in actual.items() if desired.get(key) != value}
        self._differs.update((key, None) for key in desired if key not in actual)

    def send(self, keys: Iterable[K]) -> None:
        """Note that writes of these are on their way: an answer counts unless `observe` comes before it."""
        self._sent.update(keys)

    def confirm(self, written: Iterable[tuple[K, V | None]]) -> None:
        """Note that what was sent was carried out, with the values that were written (None: removed)."""
        for key, value in written:
            if key in self._sent:
                self.observe(key, value)

    def fail(self, keys: Iterable[K]) -> None:
        """Note that writes were refused or not answered: the kernel is believed to be as it was."""
        self._sent.difference_update(keys)

    @property
    def pending(self) -> Delta[K, V]:
        """What is to be written, for as much as differs; costs no more than that."""
        delta: Delta[K, V] = Delta()
        for key, held in self._differs.items():
            if key in self.desired:
                delta.put[key] = self.desired[key]
            elif held is not None:
                delta.drop[key] = held
        return delta

    @property
    def differing(self) -> KeysView[K]:
        """Keys of what is pending: a view."""
        return self._differs.keys()

    @property
    def empty(self) -> bool:
        """Whether the kernel is believed to hold nothing."""
        return self.desired.keys() <= self._differs.keys() and not any(
            held is not None for held in self._differs.values()
        )

    @property
    def actual(self) -> dict[K, V]:
        """Return the actual entries as far as is known, all of them: a copy."""
        entries = {key: value for key, value in self.desired.items() if key not in self._differs}
        entries.update((key, value) for key, value in self._differs.items() if value is not None)
        return entries

    def _set(self, key: K, held: V | None) -> None:
        if self.desired.get(key) == held:
            self._differs.pop(key, None)
        else:
            self._differs[key] = held

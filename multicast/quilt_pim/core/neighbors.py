"""PIM neighbors of every interface, whatever they are known from, and who is the designated router.

A neighbor may be known from up to three sides at once: its own Hellos, a caller of the API, and the mesh.
Hellos come first (RFC 7761 §4.3.1 says what they mean), then the caller's entry, then the mesh's; removing
one side leaves the others. Only what Hellos say expires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from math import inf
from typing import Any

from quilt_pim.core.events import PIM_HELLO, PimNeighborChange, Source
from quilt_pim.core.pim import HOLDTIME_FOREVER, Hello
from quilt_pim.core.validate import MESH_TAG, ControlError

DEFAULT_PRIORITY = 1
MAX_EXTERNAL = 4096
# A host can send Hellos from any address: without a bound it could fill the agent's memory.
MAX_LEARNED = 1024

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class External:
    """An injected neighbor."""

    dr_priority: int = DEFAULT_PRIORITY
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One neighbor on one interface, with all sides that know it; `expires` is when its last Hello ends."""

    interface: str
    address: str
    hello: Hello | None = None
    added: External | None = None
    mesh: External | None = None
    expires: float = inf

    @property
    def external(self) -> External | None:
        """The injected side, also while Hellos are received."""
        return self.added or self.mesh

    @property
    def side(self) -> Hello | External | None:
        """The side that counts now; None where none knows it any more."""
        return self.hello or self.external

    @property
    def source(self) -> Source:
        """Where it is known from, by the side that counts now."""
        return Source(external=True, tag=self.external.tag) if self.external and not self.hello else PIM_HELLO

    @property
    def dr_priority(self) -> int | None:
        """Priority in the election; None where a Hello came without the option."""
        return self.side.dr_priority if self.side else None


class NeighborTable:
    """All neighbors; every change returns the events that follow from it."""

    def __init__(self) -> None:
        self._held: dict[Key, Neighbor] = {}
        self._added = 0
        self._learned = 0

    def __iter__(self) -> Iterator[Neighbor]:
        return iter(sorted(self._held.values(), key=lambda n: (n.interface, IPv4Address(n.address))))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, interface: str, address: str) -> Neighbor | None:
        """The neighbor, or None for a stranger: what Join/Prune checks ask."""
        return self._held.get((interface, address))

    def on(self, interface: str) -> list[Neighbor]:
        """Neighbors on one interface."""
        return [held for held in self._held.values() if held.interface == interface]

    def add(self, interface: str, address: str, external: External) -> list[PimNeighborChange]:
        """Inject a neighbor for a caller, or change its entry; Hello state stays as it is."""
        held = self._held.get((interface, address))
        if (held is None or held.added is None) and self._added >= MAX_EXTERNAL:
            raise ControlError(f"There are {MAX_EXTERNAL} external neighbors already; remove some first")
        return self._put(replace(held or Neighbor(interface, address), added=external))

    def remove(self, interface: str, address: str) -> list[PimNeighborChange]:
        """Take back what a caller injected."""
        held = self._held.get((interface, address))
        if held is None:
            raise ControlError(
                f"There is no neighbor {address} on {interface}; ListExternalNeighbors shows which there are"
            )
        if held.added is None and held.mesh is not None:
            raise ControlError(
                f"Neighbor {address} on {interface} is a peer of the mesh ({held.mesh.tag}); it is removed "
                "when its node is Down"
            )
        if held.added is None:
            raise ControlError(
                f"Neighbor {address} on {interface} is not external: it is learned from its own Hellos and "
                "expires with them"
            )
        return self._put(replace(held, added=None))

    def clear(self, interface: str | None = None) -> tuple[int, list[PimNeighborChange]]:
        """Take back all that callers injected, on one interface or everywhere; how many, and the events."""
        chosen = [n for n in self if n.added is not None and interface in (None, n.interface)]
        return len(chosen), self._without("added", chosen)

    def receive(self, interface: str, address: str, hello: Hello, now: float) -> list[PimNeighborChange]:
        """Take in a Hello; a holdtime of zero is a goodbye."""
        held = self._held.get((interface, address))
        if hello.holdtime == 0:
            return self._without("hello", [held] if held and held.hello else [])
        if (held is None or held.hello is None) and self._learned >= MAX_LEARNED:
            raise ControlError(f"{MAX_LEARNED} neighbors are learned already; {address} is left out")
        expires = inf if hello.holdtime == HOLDTIME_FOREVER else now + hello.holdtime
        return self._put(replace(held or Neighbor(interface, address), hello=hello, expires=expires))

    def expire(self, now: float) -> list[PimNeighborChange]:
        """Forget Hellos whose holdtime is over."""
        return self._without("hello", [n for n in self._held.values() if n.hello and n.expires <= now])

    def next_expiry(self) -> float:
        """When `expire` has something to do next; inf for never."""
        return min((n.expires for n in self._held.values() if n.hello), default=inf)

    def forget_hellos(self, interface: str) -> list[PimNeighborChange]:
        """Forget what was received on an interface that is listened to no longer."""
        return self._without("hello", [n for n in self.on(interface) if n.hello])

    def set_mesh(self, interface: str, peers: Iterable[tuple[str, str]]) -> list[PimNeighborChange]:
        """Follow the mesh: `(node, VTEP address)` of every peer that is Up; those not named go."""
        wanted = {(interface, address): node for node, address in peers}
        gone = [held for key, held in self._held.items() if held.mesh is not None and key not in wanted]
        events = self._without("mesh", gone)
        for key, node in wanted.items():
            injected = External(DEFAULT_PRIORITY, f"{MESH_TAG}{node}")
            known = self._held.get(key)
            if known is None or known.mesh != injected:
                events += self._put(replace(known or Neighbor(*key), mesh=injected))
        return events

    def _without(self, side: str, chosen: Iterable[Neighbor]) -> list[PimNeighborChange]:
        gone: dict[str, Any] = {side: None}
        return [event for n in chosen for event in self._put(replace(n, **gone))]

    def _put(self, new: Neighbor) -> list[PimNeighborChange]:
        key = (new.interface, new.address)
        old = self._held.get(key)
        self._added += bool(new.added) - bool(old and old.added)
        self._learned += bool(new.hello) - bool(old and old.hello)
        if old is not None and new.side is None:
            del self._held[key]
            return [PimNeighborChange(*key, "Down", old.source)]
        self._held[key] = new
        if old is None or old.source != new.source:
            return [PimNeighborChange(*key, "Up", new.source)]
        return []


def elect(candidates: Iterable[tuple[str, int | None]]) -> str | None:
    """Address of the designated router among (address, priority): highest priority, then highest address.

    RFC 7761 §4.3.2: as soon as one router on the link sends no priority, all compare addresses alone, or they
    would not agree on one.
    """
    standing = list(candidates)
    ranked = all(priority is not None for _, priority in standing)
    best = max(standing, key=lambda one: (one[1] if ranked else 0, IPv4Address(one[0])), default=None)
    return best[0] if best else None

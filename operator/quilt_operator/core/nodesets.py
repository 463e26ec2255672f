"""The addresses of nodes behind selectors of ClusterNetworkPolicies that name nodes by their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quilt_operator.core.labelindex import ByLabels, ByTerms
from quilt_operator.core.peerset import Wanted


class NodeSets:
    """Nodes, and the selectors that select them. Few policies do: a set is made again with each change."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[dict[str, str], frozenset[int]]] = {}
        self._by_labels: ByLabels[str] = ByLabels()
        self._selectors: ByTerms[Wanted] = ByTerms()

    def __bool__(self) -> bool:
        """Whether any policy names nodes."""
        return bool(self._selectors)

    def names(self) -> list[str]:
        """Return the nodes that are known."""
        return list(self._nodes)

    def put(self, name: str, labels: Mapping[str, str], addresses: Iterable[int]) -> None:
        """Enter a node, its labels and its IPv4 addresses."""
        node = dict(labels), frozenset(addresses)
        before = self._nodes.get(name)
        if before == node:
            return
        if before is not None:
            self._by_labels.remove(name)
        self._nodes[name] = node
        self._by_labels.add(name, node[0])
        self._fill_all(before, node)

    def drop(self, name: str) -> None:
        """Remove a node."""
        if (before := self._nodes.pop(name, None)) is not None:
            self._by_labels.remove(name)
            self._fill_all(before)

    def want(self, wanted: Wanted) -> None:
        """Have a selector select."""
        self._selectors.add(wanted, wanted.selector.nodes or ())
        self._fill(wanted)

    def unwant(self, wanted: Wanted) -> None:
        """Have a selector select no more."""
        self._selectors.remove(wanted, wanted.selector.nodes or ())

    def _fill_all(self, *nodes: tuple[dict[str, str], frozenset[int]] | None) -> None:
        touched = {wanted for node in nodes if node for wanted in self._selectors.select(node[0])}
        for wanted in touched:
            self._fill(wanted)

    def _fill(self, wanted: Wanted) -> None:
        peer_set = wanted.set(0)
        before = set(peer_set.slices.addresses())
        names = self._by_labels.select(wanted.selector.nodes or ())
        now = {address for name in names for address in self._nodes[name][1]}
        for address in before - now:
            peer_set.leave(address)
        for address in now - before:
            peer_set.join(address)

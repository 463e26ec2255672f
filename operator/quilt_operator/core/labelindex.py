"""Labels found by terms, and terms found by labels, without asking every one of thousands.

Most selectors have a term `key In (values)`; with it they, or what they select, are found by key and value.
Those without one are asked one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeAlias, TypeVar

from quilt_policy.labels import Term, Terms, matches

Pair: TypeAlias = tuple[str, str]
"""A label: key and value."""

T = TypeVar("T")


class ByTerms(Generic[T]):
    """Items that select, each by terms of its own."""

    def __init__(self) -> None:
        self._by_pair: dict[Pair, dict[T, Terms]] = {}
        self._others: dict[T, Terms] = {}

    def __bool__(self) -> bool:
        """Whether there is any item."""
        return bool(self._by_pair or self._others)

    def add(self, item: T, terms: Terms) -> None:
        """Enter an item."""
        if (term := _exact(terms)) is None:
            self._others[item] = terms
            return
        for pair in _pairs(term):
            self._by_pair.setdefault(pair, {})[item] = terms

    def remove(self, item: T, terms: Terms) -> None:
        """Remove an item that was entered with these terms."""
        if (term := _exact(terms)) is None:
            del self._others[item]
            return
        for pair in _pairs(term):
            del self._by_pair[pair][item]
            if not self._by_pair[pair]:
                del self._by_pair[pair]

    def select(self, labels: Mapping[str, str]) -> Iterator[T]:
        """Yield the items whose terms all hold for these labels, each once."""
        found = (self._by_pair.get(pair) for pair in labels.items())
        for items in (*filter(None, found), self._others):
            yield from (item for item, terms in items.items() if matches(terms, labels))


class ByLabels(Generic[T]):
    """Items that are selected, each with labels."""

    def __init__(self) -> None:
        self._labels: dict[T, Mapping[str, str]] = {}
        self._by_pair: dict[Pair, dict[T, None]] = {}

    def add(self, item: T, labels: Mapping[str, str]) -> None:
        """Enter an item."""
        self._labels[item] = labels
        for pair in labels.items():
            self._by_pair.setdefault(pair, {})[item] = None

    def remove(self, item: T) -> None:
        """Remove an item that was entered."""
        for pair in self._labels.pop(item).items():
            del self._by_pair[pair][item]
            if not self._by_pair[pair]:
                del self._by_pair[pair]

    def select(self, terms: Terms) -> Iterator[T]:
        """Yield the items for whose labels all terms hold, each once."""
        if (term := _exact(terms)) is None:
            yield from (item for item, labels in self._labels.items() if matches(terms, labels))
            return
        for pair in _pairs(term):
            for item in self._by_pair.get(pair, ()):
                if matches(terms, self._labels[item]):
                    yield item


def _exact(terms: Terms) -> Term | None:
    """Return the first term that says which values a label may have."""
    return next((term for term in terms if term[1] == "In"), None)


def _pairs(term: Term) -> Iterator[Pair]:
    key, _, values = term
    return ((key, value) for value in values)

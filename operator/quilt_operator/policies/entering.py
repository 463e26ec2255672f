"""Following a kind whose objects are entered into the sets, one by one, and taken out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from quilt_crds.names import Resource
from quilt_kube.listwatch import Identified
from quilt_kube.request import ApiError
from quilt_operator.api.client import Client
from quilt_operator.api.following import Followed

T = TypeVar("T", bound=Identified)
K = TypeVar("K", bound=Hashable)

_PAGE = 500
# Seconds until a kind that the cluster does not have is looked for again.
_ABSENT = 30.0


@dataclass(frozen=True)
class Entries(Generic[T, K]):
    """What becomes of the objects of a kind."""

    key: Callable[[T], K]
    put: Callable[[T], object]
    drop: Callable[[K], object]
    keys: Callable[[], Iterable[K]]
    """The objects that are entered."""


class Entering(Followed[T], Generic[T, K]):
    """A list-watch that enters objects; `woken` is called after each read.

    With `optional` a cluster without the kind has none of its objects, and that is no failure.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        kind: type[T],
        entries: Entries[T, K],
        woken: Callable[[], None],
        *,
        query: Mapping[str, str] | None = None,
        optional: bool = False,
        silence: float,
    ) -> None:
        settings: dict[str, Any] = {"query": query, "limit": _PAGE, "silence": silence}
        super().__init__(
            client,
            resource.path(),
            kind,
            listed=self._listed,
            changed=self._some,
            arriving=self._page,
            **settings,
        )
        self.complete = asyncio.Event()
        """Set once all objects are entered."""
        self._entries, self._woken, self._optional = entries, woken, optional
        self._seen: set[K] = set()

    def ended(self, error: Exception | None = None) -> float:
        """Take note of an end as any list-watch; return the seconds to wait."""
        if self._optional and isinstance(error, ApiError) and error.missing:
            self.relist()
            self._seen.clear()
            self._listed(())
            return _ABSENT
        return super().ended(error)

    def _page(self, items: Iterable[T], first: bool) -> None:
        if first:
            self._seen.clear()
        for item in items:
            self._entries.put(item)
            self._seen.add(self._entries.key(item))

    def _listed(self, _: Iterable[T]) -> None:
        for key in set(self._entries.keys()) - self._seen:
            self._entries.drop(key)
        self._seen.clear()
        self.complete.set()
        self._woken()

    def _some(self, events: Sequence[tuple[str, T]]) -> None:
        for type_, item in events:
            if type_ == "DELETED":
                self._entries.drop(self._entries.key(item))
            else:
                self._entries.put(item)
        self._woken()

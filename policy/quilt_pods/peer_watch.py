"""Following the QuiltPeers that this node needs, and no others, by one watch with a list of labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from quilt_crds.names import QUILTPEERS, SELECTOR_LABEL
from quilt_crds.wire_policy import QuiltPeers
from quilt_kube.aio import Client, follow
from quilt_kube.backoff import Backoff
from quilt_kube.listwatch import FAILURES, ListWatch, decode_list
from quilt_kube.request import read
from quilt_log import log
from quilt_pods.sources.peers import PeerSets


class PeerWatch:
    """Keeps `sets` as the API has them for needed labels; `changed` hears when more of them are followed.

    A label that comes to be needed is listed by itself; then the watch continues with it from the list's
    version or its own, the older of both, so that nothing is missed: what comes twice is passed over.
    """

    def __init__(self, client: Client, sets: PeerSets, changed: Callable[[], None]) -> None:
        self._client = client
        self._sets = sets
        self._changed = changed
        self._needed: frozenset[str] = frozenset()
        self._watch: ListWatch[QuiltPeers] | None = None
        self._wake = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether everything that is needed was listed."""
        return self._needed <= self._sets.labels

    def need(self, labels: Iterable[str]) -> None:
        """Follow exactly these labels."""
        needed = frozenset(labels)
        if needed != self._needed:
            self._needed = needed
            self._sets.keep(self._sets.labels & needed)
            self._wake.set()

    async def run(self) -> None:
        """Follow for ever."""
        following: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                if self._needed - self._sets.labels:
                    await self._list()
                    if following is not None:
                        following.cancel()
                        await asyncio.wait([following])
                    following = group.create_task(self._follow())
                    self._changed()
                await self._wake.wait()
                self._wake.clear()

    async def _list(self) -> None:
        """List what is new, until the API server has answered, and prepare a watch of everything."""
        backoff = Backoff()
        while True:
            needed = self._needed
            missing = needed - self._sets.labels
            try:
                items, version = decode_list(
                    await self._client.send(read(QUILTPEERS.path(), _query(missing)), long=True), QuiltPeers
                )
                break
            except FAILURES as error:
                log.info("peers_not_listed", error=str(error), keeps="what was known")
                await asyncio.sleep(backoff.delay())
        before = self._watch
        self._watch = self._make_watch(needed, max(version, before.newest if before is not None else 0))
        if before is None:
            self._watch.version = str(version)
        elif not before.listing:
            # What the watch brought of the new labels behind the list it has passed over.
            self._watch.version = min(before.version, str(version), key=int)
        # What was left and is needed again meanwhile is not known any more.
        self._sets.keep((self._sets.labels | missing) & self._needed)
        self._sets.listed(missing, items)

    async def _follow(self) -> None:
        if self._watch is not None:
            await follow(self._client, self._watch)

    def _make_watch(self, labels: frozenset[str], past: int) -> ListWatch[QuiltPeers]:
        return ListWatch(
            QUILTPEERS.path(),
            QuiltPeers,
            listed=partial(self._sets.listed, labels),
            changed=self._sets.changed,
            rewound=self._sets.rewound,
            past=past,
            query=_query(labels),
        )


def _query(labels: frozenset[str]) -> dict[str, str]:
    return {"labelSelector": f"{SELECTOR_LABEL} in ({','.join(sorted(labels))})"}

"""The audit: whether the view of the cluster has what the API server has, by names and versions alone.

A watch that was away is resumed or begun again with a list, and neither shows what was deleted meanwhile. So
every few minutes the metadata of all objects is listed, and what is no longer there has been deleted. The
grace period of claims makes that delay harmless. The first audit also shows when the view is complete:
nothing is handed out before.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from quilt_crds.names import NODE, QUILTNETWORK, QUILTNODE
from quilt_crds.wire import WireObject
from quilt_kube.request import METADATA_LIST, ApiError, UnreachableError
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.world import NODES, World

PATHS = {
    QUILTNETWORK.plural: QUILTNETWORK.path(),
    NODES: NODE.path(),
    QUILTNODE.plural: QUILTNODE.path(),
}
"""The collections that kopf watches."""

# Seconds that the events of what was listed may take.
_SOON = 2.0
_POLL = 0.05
_AGAIN = 0.5


@dataclass
class Audit:
    """Compares the view with lists of metadata, every `interval` seconds."""

    client: Client
    world: World
    interval: float

    def __post_init__(self) -> None:
        self._failed = False
        self._received: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.complete = asyncio.Event()
        """Set once the view had all that was listed."""
        self.lacking: dict[str, int] = {}
        """How many objects each watch should have shown at the last audit and had not."""

    def note(self, plural: str) -> None:
        """Take note of an event."""
        self._received[plural] = time.monotonic()

    def age(self, plural: str) -> float:
        """Seconds since the last event, or since an audit found that nothing was missing."""
        return time.monotonic() - self._received.get(plural, -float("inf"))

    def begin(self) -> None:
        """Look from now on: at once, again until the view is complete, and then each interval."""
        self._task = asyncio.create_task(self._run(), name="audit")

    def end(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            complete, failed, self._failed = False, self._failed, False
            try:
                complete = await self.look()
            except (ApiError, UnreachableError) as error:
                self._failed = True
                if not failed:
                    log.warning("audit_failed", error=str(error))
            pause = self.interval * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards no secret
            await asyncio.sleep(pause if complete else _AGAIN)

    async def look(self) -> bool:
        """Compare once; return whether the view has, at once or soon, all that was listed.

        Raises ApiError or UnreachableError.
        """
        listed: dict[str, dict[str, int]] = {}
        for plural, path in PATHS.items():
            items, version = await self.client.list(path, WireObject, METADATA_LIST)
            listed[plural] = {item.name: item.version for item in items}
            if gone := self.world.keep(plural, listed[plural].keys(), version):
                log.info("audit_found_deleted", kind=plural, count=gone)
        due = time.monotonic() + _SOON
        while (lacking := self._lacking(listed)) and time.monotonic() < due:  # noqa: ASYNC110 - few wait
            await asyncio.sleep(_POLL)
        if lacking and not self.lacking and self.complete.is_set():
            log.warning("audit_found_missing", **lacking)
        self.lacking = lacking
        for plural in listed.keys() - lacking.keys():
            self.note(plural)
        if not lacking:
            self.complete.set()
        return not lacking

    def _lacking(self, listed: dict[str, dict[str, int]]) -> dict[str, int]:
        counts = {plural: self.world.lacks(plural, versions) for plural, versions in listed.items()}
        return {plural: count for plural, count in counts.items() if count}

"""Events about the own QuiltNode. They are a courtesy: one that fails is dropped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isinf

from quilt_crds.names import EVENT, QUILTNODE
from quilt_events.document import NAMESPACE, NORMAL, WARNING, About, Writer, document
from quilt_events.news import News
from quilt_events.ration import Draft, Ration
from quilt_kube.aio import Client, wait
from quilt_kube.request import ApiError, UnreachableError, create, read
from quilt_log import log

CONTROLLER = "quilt.io/agent"
# Seconds for each node of the mesh, within which an agent waits some: all may have the same news at once.
_SPREAD = 0.005


@dataclass
class Events:
    """Writes Events about the QuiltNode of `node`, in a mesh of `nodes()`."""

    client: Client
    node: str
    nodes: Callable[[], int]

    def __post_init__(self) -> None:
        self._ration = Ration(self.node)
        self._wake = asyncio.Event()

    def tell(self, news: News, count: int = 1) -> None:
        """Have an Event report what happened `count` times; returns at once."""
        self._ration.note(news, time.monotonic(), count)
        self._wake.set()

    async def run(self) -> None:
        """Write what may be written, for ever."""
        while True:
            due = self._ration.due()
            await wait(self._wake, None if isinf(due) else max(0.0, due - time.monotonic()))
            self._wake.clear()
            if taken := self._ration.take(time.monotonic(), time.time(), self.nodes()):
                await asyncio.sleep(random.uniform(0.0, self.nodes() * _SPREAD))  # noqa: S311  spreads load
                for draft in taken:
                    await self._write(draft)

    async def _write(self, draft: Draft) -> None:
        """Create the Event, unless another node wrote it already."""
        topic = draft.topic
        try:
            held = await self.client.ask(read(QUILTNODE.path(self.node)))
            about = About(QUILTNODE.kind, self.node, held.get("metadata", {}).get("uid", ""))
            type_ = WARNING if topic.warning else NORMAL
            writer = Writer(CONTROLLER, self.node)
            event = document(draft.name, about, type_, topic.reason, draft.note, writer)
            await self.client.send(create(EVENT.path(namespace=NAMESPACE), event))
        except ApiError as error:
            if not error.exists:
                log.info("event_not_sent", error=str(error))
        except UnreachableError as error:
            log.info("event_not_sent", error=str(error))

"""kopf: its handlers enter Nodes, QuiltNetworks and QuiltNodes into the view of the cluster.

kopf lists and watches, resumes what breaks and calls a handler for every event. The handlers only enter what
they are called with; the view puts a name into the queue. They own no object, so there are no finalizers and
no annotations. There is no kopf index: it would not know our own writes before their events.

As its documentation on embedding shows, kopf runs in a thread with an event loop of its own: when it gives
up, for example because of an error in a watch, it ends every task of its loop.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import kopf

from quilt_crds.names import GROUP, QUILTNETWORK, QUILTNODE, VERSION
from quilt_kube.aio import CONNECT
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.audit import Audit
from quilt_operator.world import NODES, World

REGISTRY = kopf.OperatorRegistry()
# Seconds until kopf is started again after it gave up.
_PAUSE = 1.0
# Seconds that kopf may take to end once it has cleaned up.
_LAST_WORDS = 1.0
_AGAIN = 0.05


@dataclass(frozen=True)
class Memo:
    """What kopf passes to the handlers (a copy of it with each object)."""

    loop: asyncio.AbstractEventLoop
    """The operator's, where all else happens."""
    world: World
    audit: Audit
    client: Client
    silence: float
    """Seconds without an event or a bookmark after which a watch is opened again."""

    def enter(self, plural: str, event: kopf.RawEvent) -> None:
        """Enter the state of an object, or its end, into the view."""
        self.audit.note(plural)
        raw = event["object"]
        if event["type"] == "DELETED":
            meta = raw["metadata"]
            self.world.forget(plural, meta["name"], int(meta["resourceVersion"]))
        else:
            self.world.observe(plural, raw)


@kopf.on.startup(registry=REGISTRY)
async def configure(settings: kopf.OperatorSettings, memo: Memo, **_: Any) -> None:
    """Settings: nothing is written, and an API server that is away is waited for."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.error_backoffs = (0.5, 1, 2, 4, *([5] * 120))
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = settings.watching.connect_timeout = CONNECT
    settings.watching.inactivity_timeout = memo.silence
    settings.watching.chunk_size = 500
    settings.queueing.exit_timeout = 0.5
    # A worker task per object is kept this long after an event: shorter is less memory.
    settings.queueing.idle_timeout = 1.0


@kopf.on.startup(registry=REGISTRY)
async def begin(memo: Memo, **_: Any) -> None:
    """Begin the audit of what the watches show."""
    memo.loop.call_soon_threadsafe(memo.audit.begin)


@kopf.on.cleanup(registry=REGISTRY)
async def end(memo: Memo, **_: Any) -> None:
    """End the audit, and soon the event loop."""
    memo.loop.call_soon_threadsafe(memo.audit.end)
    # kopf waits for its other watches, which (1.45.2) take being cancelled for a pause and never end.
    loop = asyncio.get_running_loop()
    loop.call_later(_LAST_WORDS, loop.stop)


@kopf.on.login(registry=REGISTRY, backoff=2)
async def login(memo: Memo, **_: Any) -> kopf.AiohttpSession:
    """Give kopf a session with our credentials; it asks again when they are refused."""
    return kopf.AiohttpSession(server=memo.client.access.server, aiohttp_session=memo.client.session())


@kopf.on.event(GROUP, VERSION, QUILTNETWORK.plural, registry=REGISTRY)
@kopf.on.event(GROUP, VERSION, QUILTNODE.plural, registry=REGISTRY)
@kopf.on.event("", "v1", NODES, registry=REGISTRY)
async def observe(memo: Memo, event: kopf.RawEvent, resource: kopf.Resource, **_: Any) -> None:
    """Pass an event on to the operator's event loop."""
    memo.loop.call_soon_threadsafe(memo.enter, resource.plural, event)


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out failures of tasks that kopf looks at no more: it has logged them, and is started again."""
    if "never retrieved" not in context["message"]:
        loop.default_exception_handler(context)


class Watches:
    """kopf, started again whenever it gives up."""

    def __init__(self, memo: Memo, identity: str) -> None:
        """`identity` is this replica's; without one kopf looks up a user name, and containers have none."""
        self._memo = memo
        self._identity = cast(Any, identity)
        self._ending = False
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def run(self) -> None:
        """Follow the kinds until `end`."""
        try:
            while not self._ending:
                try:
                    await asyncio.to_thread(self._run_kopf)
                except Exception as error:
                    if not self._ending:
                        log.warning("kopf_gave_up", error=str(error), then="it is started again")
                        await asyncio.sleep(_PAUSE)
        finally:
            self.end()

    def end(self) -> None:
        """Have kopf end."""
        self._ending = True
        if self._stop is not None:
            loop, flag = self._stop
            loop.call_soon_threadsafe(flag.set)

    def _run_kopf(self) -> None:
        with closing(asyncio.new_event_loop()) as loop:
            flag = asyncio.Event()
            self._stop = loop, flag
            loop.set_exception_handler(_ignore)
            try:
                loop.run_until_complete(self._operate(flag))
            finally:
                self._stop = None
                while tasks := asyncio.all_tasks(loop):
                    for task in tasks:
                        task.cancel()
                    loop.run_until_complete(asyncio.wait(tasks, timeout=_AGAIN))

    async def _operate(self, flag: asyncio.Event) -> None:
        if not self._ending:
            await kopf.operator(
                registry=REGISTRY,
                memo=self._memo,
                identity=self._identity,
                standalone=True,
                clusterwide=True,
                stop_flag=flag,
            )

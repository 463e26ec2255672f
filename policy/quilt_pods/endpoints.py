"""Publishing which pod has which address on this node: its QuiltEndpoints, as the runtime's record says.

The first change is written at once, for peers' policies wait for it; what follows at most five times a
second, the newest state always. The object is owned by the Node and deleted with it. Where endpoints are not
to be published, the operator deletes those that there are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from quilt_crds.names import AGENT_FIELD_MANAGER, QUILTENDPOINTS
from quilt_crds.wire_policy import Endpoint, EndpointsSpec, endpoints_spec
from quilt_kube.aio import Client, wait
from quilt_kube.backoff import Backoff
from quilt_kube.request import ApiError, UnreachableError, apply
from quilt_log import log
from quilt_pods.pod_watch import PodWatch
from quilt_policy.program import PodName

# Seconds between two writes.
_PAUSE = 0.2
# Seconds after which it is written again all the same: somebody may have deleted or changed it. A watch would
# cost the API server more, which makes no write of one that changes nothing.
_AGAIN = 600.0


class EndpointsWriter:
    """Keeps the QuiltEndpoints of `node` as `pods` knows them; `owner()` refers to the Node once known.

    `uid` says by which uid the API knows a pod.
    """

    def __init__(
        self,
        client: Client,
        node: str,
        pods: PodWatch,
        *,
        owner: Callable[[], dict[str, Any] | None],
        uid: Callable[[PodName], str],
    ) -> None:
        self._uid = uid
        self._client = client
        self._node = node
        self._pods = pods
        self._owner = owner
        self._wake = asyncio.Event()
        self._written: EndpointsSpec | None = None
        self._failing = ""
        pods.listeners.append(self.changed)

    def changed(self) -> None:
        """Tell that pods may have changed, or the owner become known."""
        self._wake.set()

    async def run(self) -> None:
        """Write for ever; failures are retried, the latest state wins."""
        self._written = None
        backoff = Backoff(0.2, 10.0)
        due = time.monotonic() + self._next()
        while True:
            await wait(self._wake, due - time.monotonic())
            self._wake.clear()
            if time.monotonic() >= due:
                self._written, due = None, time.monotonic() + self._next()
            try:
                if await self._write():
                    await asyncio.sleep(_PAUSE)
                backoff.reset()
            except (ApiError, UnreachableError) as error:
                self._failed(error)
                self._wake.set()
                await asyncio.sleep(backoff.delay())

    async def _write(self) -> bool:
        """Write what differs; return whether anything did."""
        owner = self._owner()
        if not self._pods.known or owner is None:
            return False
        spec = endpoints_spec(
            self._node,
            (
                Endpoint(self._uid(one.pod), one.pod.namespace, one.pod.name, one.address)
                for one in self._pods.connected
            ),
        )
        if spec == self._written:
            return False
        document = QUILTENDPOINTS.document({"name": self._node, "ownerReferences": [owner]}, spec=spec)
        await self._client.send(apply(QUILTENDPOINTS.path(self._node), document, AGENT_FIELD_MANAGER))
        log.debug("endpoints_written", pods=spec.pods)
        self._written, self._failing = spec, ""
        return True

    def _failed(self, error: Exception) -> None:
        if str(error) != self._failing:
            self._failing = str(error)
            log.warning("endpoints_not_written", error=self._failing)

    @staticmethod
    def _next() -> float:
        return _AGAIN * random.uniform(0.8, 1.2)  # noqa: S311  spreads load

"""Pods whose start waits for their policies: they are looked for by name, where the watch is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quilt_crds.names import POD
from quilt_kube.aio import Client
from quilt_kube.listwatch import decode_list
from quilt_kube.request import ApiError, UnreachableError, read
from quilt_log import log
from quilt_pods.metrics import PolicyMetrics
from quilt_pods.sources.pods import LocalPods, kept
from quilt_policy.objects import Pod
from quilt_policy.program import PodName

# Seconds between looks; the watch is faster as a rule. The runtime has a pod wait for 8 s.
_LOOKS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class WaitingPods:
    """Puts waiting pods into `local`; `changed` hears that it has one more."""

    def __init__(
        self, client: Client, node: str, local: LocalPods, metrics: PolicyMetrics, changed: Callable[[], None]
    ) -> None:
        self._client = client
        self._node = node
        self._local = local
        self._metrics = metrics
        self._changed = changed
        self._looked_for: set[PodName] = set()

    def look_for(self, name: PodName, group: asyncio.TaskGroup) -> None:
        """Look for a pod, in a task of the group, unless its policies are known."""
        if name not in self._looked_for and not self._local.has(name):
            self._looked_for.add(name)
            self._metrics.waiting.set(len(self._looked_for))
            group.create_task(self._look_for(name))

    async def _look_for(self, name: PodName) -> None:
        try:
            for pause in _LOOKS:
                await asyncio.sleep(pause)
                if self._local.has(name):
                    return
                await self._look(name)
            if not self._local.has(name):
                log.warning("waiting_pod_not_found", namespace=name.namespace, pod=name.name, uid=name.uid)
        finally:
            self._looked_for.discard(name)
            self._metrics.waiting.set(len(self._looked_for))

    async def _look(self, name: PodName) -> None:
        before = self._local.events
        query = {"fieldSelector": f"metadata.name={name.name}"}
        try:
            body = await self._client.send(read(POD.path(namespace=name.namespace), query))
            found = next(decode_list(body, Pod)[0], Pod())
        except (ApiError, UnreachableError) as error:
            log.debug("waiting_pod_not_read", pod=name.name, error=str(error))
            return
        pod = kept(found)
        # Another of that name has other labels; and what the watch brought meanwhile may be newer.
        if pod is not None and (pod.key, pod.node, self._local.events) == (name, self._node, before):
            self._local.enter(found)
            self._changed()

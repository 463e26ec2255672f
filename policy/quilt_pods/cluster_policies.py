"""ClusterNetworkPolicies, and the Namespaces that they select by labels, where the CRD is installed.

It is the administrator's, and may come later: its group is asked for now and then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from quilt_crds.names import CLUSTERNETWORKPOLICY, NAMESPACE, Resource
from quilt_kube.aio import Client, follow
from quilt_kube.backoff import Backoff
from quilt_kube.listwatch import ListWatch
from quilt_kube.request import ApiError, UnreachableError
from quilt_log import log
from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.compile import Compiler
from quilt_policy.objects import Meta, Namespace

# Seconds between questions whether the CRD is there.
_AGAIN = 60.0


class Named(Protocol):
    """An object of the whole cluster."""

    @property
    def metadata(self) -> Meta:
        """With its name."""


T = TypeVar("T", bound=Named)


class Follower(Generic[T]):
    """Passes on what exists of a kind, by name: `put` what is there, `drop` what is no more."""

    def __init__(
        self,
        resource: Resource,
        kind: type[T],
        put: Callable[[T], None],
        drop: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._put = put
        self._drop = drop
        self._changed = changed
        self.names: set[str] = set()
        self.complete = False
        self.watch = ListWatch(resource.path(), kind, listed=self._listed, changed=self._events)

    def _listed(self, items: Iterable[T]) -> None:
        before, self.names = self.names, set()
        for item in items:
            self.names.add(item.metadata.name)
            self._put(item)
        for name in before - self.names:
            self._drop(name)
        self.complete = True
        self._changed()

    def _events(self, events: Sequence[tuple[str, T]]) -> None:
        for kind, item in events:
            if kind != "DELETED":
                self.names.add(item.metadata.name)
                self._put(item)
            elif item.metadata.name in self.names:
                self.names.discard(item.metadata.name)
                self._drop(item.metadata.name)
        self._changed()


class ClusterPolicies:
    """Feeds the compiler; `changed` hears of everything."""

    def __init__(self, client: Client, compiler: Compiler, changed: Callable[[], None]) -> None:
        self._client = client
        self._changed = changed
        self._absent = False
        self._policies = Follower(
            CLUSTERNETWORKPOLICY,
            ClusterNetworkPolicy,
            compiler.put_cluster_policy,
            compiler.drop_cluster_policy,
            changed,
        )
        self._namespaces = Follower(
            NAMESPACE,
            Namespace,
            lambda one: compiler.put_namespace(one.name, one.labels),
            compiler.drop_namespace,
            changed,
        )

    @property
    def complete(self) -> bool:
        """Whether all is known: everything was listed once, or there is no such kind."""
        return self._absent or (self._policies.complete and self._namespaces.complete)

    @property
    def count(self) -> int:
        """How many policies there are."""
        return len(self._policies.names)

    async def run(self) -> None:
        """Follow for ever, once there is something to follow."""
        while not await self._installed():
            self._absent = True
            self._changed()
            await asyncio.sleep(_AGAIN * random.uniform(0.8, 1.2))  # noqa: S311  spreads load
        log.info("cluster_policies_followed", api=CLUSTERNETWORKPOLICY.api)
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._client, self._namespaces.watch))
            group.create_task(follow(self._client, self._policies.watch))

    async def _installed(self) -> bool:
        """Ask until there is an answer whether the API server serves the kind."""
        backoff = Backoff()
        while True:
            try:
                found = await self._client.find(f"/apis/{CLUSTERNETWORKPOLICY.api}")
            except (ApiError, UnreachableError):
                await asyncio.sleep(backoff.delay())
                continue
            kinds = found.get("resources") or [] if found else []
            return any(one.get("name") == CLUSTERNETWORKPOLICY.plural for one in kinds)

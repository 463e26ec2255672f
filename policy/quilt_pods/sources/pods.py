"""This node's own pods: those that the API has, and those that it has no more while they have an address.

A pod is known here as the runtime knows it, by the uid that the kubelet passes on. Of a static pod it is not
that of its Pod in the API.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from quilt_pods.sources.policies import NamespacedPolicies
from quilt_policy.objects import Pod
from quilt_policy.program import PodName

MIRROR: Final = "kubernetes.io/config.mirror"
"""Annotation of the API's Pod of a static one: the uid by which the kubelet knows it."""


@dataclass
class LocalPods:
    """Passes a pod on when the policies of its namespace are complete, and drops it when it is really gone.

    A pod that was deleted by force may run on: it is dropped when `connected` does not have it any more. That
    is None while nobody knows.
    """

    put: Callable[[Pod], None]
    drop: Callable[[PodName], None]
    connected: Callable[[], frozenset[PodName] | None]
    policies: NamespacedPolicies
    complete: bool = field(default=False, init=False)
    """Whether all pods were listed once."""
    events: int = field(default=0, init=False)
    """How many lists and events came: who asked for a pod by name sees whether anything came meanwhile."""
    _bound: dict[PodName, Pod] = field(default_factory=dict, init=False)
    _leaving: set[PodName] = field(default_factory=set, init=False)
    _uids: dict[PodName, str] = field(default_factory=dict, init=False)
    _namespaces: Counter[str] = field(default_factory=Counter, init=False)

    def has(self, name: PodName) -> bool:
        """Whether a pod was passed on."""
        return name in self._bound and self.policies.has(name.namespace)

    def uid(self, name: PodName) -> str:
        """Return the uid by which the API knows a pod of the runtime's, also one that has none there."""
        return self._uids.get(name, name.uid)

    def is_connected(self, name: PodName) -> bool:
        """Whether a pod has an address, as far as is known."""
        return _among(name, self.connected() or frozenset())

    def listed(self, items: Iterable[Pod]) -> None:
        """Take in a complete list."""
        self.complete = True
        self.events += 1
        there = {name for item in items if (name := self.enter(item))}
        for name in self._bound.keys() - there:
            self._leave(name)

    def changed(self, events: Sequence[tuple[str, Pod]]) -> None:
        """Take in events of a watch."""
        self.events += 1
        for kind, item in events:
            if kind != "DELETED":
                self.enter(item)
            elif pod := kept(item):
                self._leave(pod.key)

    def enter(self, item: Pod) -> PodName | None:
        """Take in one pod of this node and return its name; None where no policy can hold for it."""
        pod = kept(item)
        if pod is None:
            return None
        name = pod.key
        self._uids[name] = self._uids[_without_uid(name)] = item.metadata.uid
        self._leaving.discard(name)
        if name not in self._bound:
            self._namespaces[name.namespace] += 1
        self._bound[name] = pod
        self.policies.want(name.namespace)
        if self.policies.has(name.namespace):
            self.put(pod)
        return name

    def ready(self, namespace: str) -> None:
        """Pass on the pods of a namespace whose policies are complete now."""
        for name, pod in self._bound.items():
            if name.namespace == namespace:
                self.put(pod)

    def look(self) -> None:
        """Follow what the runtime says: who is connected, and who is gone and has no address any more."""
        connected = self.connected()
        if connected is None:
            return
        for name in [name for name in self._leaving if not _among(name, connected)]:
            self._leaving.discard(name)
            self._gone(name)
        for name, pod in self._bound.items():
            if self.policies.has(name.namespace):
                self.put(pod)

    def _leave(self, name: PodName) -> None:
        if name not in self._bound:
            return
        connected = self.connected()
        if connected is None or _among(name, connected):
            self._leaving.add(name)
        else:
            self._gone(name)

    def _gone(self, name: PodName) -> None:
        del self._bound[name]
        uid = self._uids.pop(name)
        if self._uids.get(_without_uid(name)) == uid:
            del self._uids[_without_uid(name)]
        self.drop(name)
        self._namespaces[name.namespace] -= 1
        if not self._namespaces[name.namespace]:
            del self._namespaces[name.namespace]
            self.policies.unwant(name.namespace)


def kept(pod: Pod) -> Pod | None:
    """Return what is kept of a pod; None where it has the host's network and no policy holds for it."""
    if pod.spec.host_network:
        return None
    uid = pod.metadata.annotations.get(MIRROR, pod.metadata.uid)
    return replace(pod, metadata=replace(pod.metadata, uid=uid, annotations={}))


def _without_uid(name: PodName) -> PodName:
    """Return how the runtime knows a pod that an earlier release connected."""
    return PodName(name.namespace, name.name, "")


def _among(name: PodName, connected: frozenset[PodName]) -> bool:
    return name in connected or _without_uid(name) in connected

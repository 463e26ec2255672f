"""Following what `quiltctl status` reads, and Events: one watch, in a thread of its own, for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import msgspec

from quilt_cli.api.read import PODS
from quilt_cli.core.event import ABOUT_THE_MESH, CoreEvent
from quilt_cli.core.objects import SystemPod, Workload, system_pod, workload
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    CORE_EVENT,
    DAEMONSET,
    DEPLOYMENT,
    NODE,
    NODE_DAEMONSET,
    OPERATOR_DEPLOYMENT,
    POD,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    Resource,
)
from quilt_crds.wire import LabeledMeta, Node, QuiltNode, QuiltSubnet, WireObject
from quilt_crds.wire_network import QuiltNetwork
from quilt_kube.listwatch import ListWatch
from quilt_kube.request import ApiError
from quilt_kube.sync import Client, follow

T = TypeVar("T", bound=WireObject)
V = TypeVar("V")


class _LooseMeta(LabeledMeta, frozen=True):
    """Metadata of an object of which only a few fields count."""

    namespace: str = ""


class _Loose(WireObject, frozen=True):
    """An object that is judged as plain JSON."""

    metadata: _LooseMeta = _LooseMeta()
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: dict[str, Any] = msgspec.field(default_factory=dict)


class Kept(Generic[V]):
    """The objects of one kind as last seen, each as `make` made it; `news` is called after every change.

    `known` is whether a complete list was read, `failure` why the API server brings nothing at the moment.
    """

    def __init__(
        self,
        resource: Resource,
        kind: type[T],
        make: Callable[[T], V],
        news: Callable[[], None],
        query: Mapping[str, str] | None = None,
    ) -> None:
        self.known = False
        self.failure: Exception | None = None
        self._make: Callable[[Any], V] = make
        self._news = news
        self._held: dict[str, V] = {}
        self._lock = Lock()
        self.watch: ListWatch[Any] = ListWatch(
            resource.path(), kind, listed=self._listed, changed=self._changed, query=query
        )

    @property
    def objects(self) -> tuple[V, ...]:
        """All of them, in the order in which they came."""
        with self._lock:
            return tuple(self._held.values())

    @property
    def answered(self) -> bool:
        """Whether the API server brought a list, or refused to."""
        return self.known or isinstance(self.failure, ApiError)

    def noted(self, failure: Exception | None) -> None:
        """Take note of how the last request went."""
        if str(self.failure) != str(failure):
            self.failure = failure
            self._news()

    def _listed(self, items: Iterable[WireObject]) -> None:
        held = {_key(item): self._make(item) for item in items}
        with self._lock:
            self._held, self.known = held, True
        self._news()

    def _changed(self, events: Sequence[tuple[str, WireObject]]) -> None:
        with self._lock:
            for type_, item in events:
                if type_ == "DELETED":
                    self._held.pop(_key(item), None)
                else:
                    self._held[_key(item)] = self._make(item)
        self._news()


class Cluster:
    """What is followed of a cluster; `news` is called after every change, from any thread."""

    def __init__(self, client: Client, news: Callable[[], None]) -> None:
        self._client = client
        self._ended = Flag()
        self.networks = Kept(QUILTNETWORK, QuiltNetwork, _same, news)
        self.quiltnodes = Kept(QUILTNODE, QuiltNode, _same, news)
        self.subnets = Kept(QUILTSUBNET, QuiltSubnet, _same, news)
        self.nodes = Kept(NODE, Node, _same, news)
        self.pods = Kept(POD, _Loose, _pod, news, PODS)
        self.daemonsets = _workloads(DAEMONSET, NODE_DAEMONSET, news)
        self.deployments = _workloads(DEPLOYMENT, OPERATOR_DEPLOYMENT, news)
        self.events = Kept(CORE_EVENT, CoreEvent, _same, news, ABOUT_THE_MESH)

    @property
    def own(self) -> dict[str, Kept[Any]]:
        """Our kinds, by the names that `quiltctl status` has for them."""
        return {"networks": self.networks, "quiltnodes": self.quiltnodes, "subnets": self.subnets}

    @property
    def others(self) -> dict[str, Kept[Any]]:
        """Kinds without which less is known."""
        names = ("nodes", "pods", "daemonsets", "deployments", "events")
        return {name: getattr(self, name) for name in names}

    def start(self) -> None:
        """Begin to follow."""
        for name, kept in (self.own | self.others).items():
            arguments = (self._client, kept.watch, self._ended, kept.noted)
            Thread(target=follow, args=arguments, name=f"follow-{name}", daemon=True).start()

    def close(self) -> None:
        """Follow no longer; what is being read is not waited for."""
        self._ended.set()

    @property
    def answered(self) -> bool:
        """Whether every kind was read once, or refused."""
        return all(kept.answered for kept in (self.own | self.others).values())

    def snapshot(self) -> Snapshot:
        """Return what is known now, once `answered`."""
        installed = not any(_missing(kept) for kept in self.own.values())
        refused = {name: str(kept.failure) for name, kept in self.others.items() if not kept.known}
        found = {name: kept.objects for name, kept in (self.own | self.others).items() if kept.known}
        return Snapshot.of(installed, found, refused)

    def silent(self) -> dict[str, str]:
        """Return the kinds that were read and are no longer followed, with the reason."""
        kinds = (self.own | self.others).items()
        return {name: str(kept.failure) for name, kept in kinds if kept.known and kept.failure}


def _key(item: WireObject) -> str:
    return item.uid or item.name


def _same(item: T) -> T:
    return item


def _pod(item: _Loose) -> SystemPod:
    return system_pod(msgspec.to_builtins(item))


def _workloads(kind: Resource, name: str, news: Callable[[], None]) -> Kept[Workload]:
    """Follow the DaemonSet or Deployment of a name, in whatever namespace it is."""

    def make(item: _Loose) -> Workload:
        return workload(kind.kind, msgspec.to_builtins(item))

    return Kept(kind, _Loose, make, news, {"fieldSelector": f"metadata.name={name}"})


def _missing(kept: Kept[Any]) -> bool:
    return isinstance(kept.failure, ApiError) and kept.failure.missing

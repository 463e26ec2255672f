"""From what Kubernetes says to what the runtime enforces, while policies are wanted.

Lists and watches feed the compiler; nothing is sent before every list is complete, then everything, and from
then on what changed. An API server that is away changes nothing: what was known stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import msgspec

from quilt_crds.names import NETWORKPOLICY, POD
from quilt_kube.aio import Client, follow
from quilt_kube.backoff import Backoff
from quilt_kube.listwatch import FAILURES, ListWatch, decode_list
from quilt_kube.request import read
from quilt_log import log
from quilt_pods.cluster_policies import ClusterPolicies
from quilt_pods.metrics import PolicyMetrics
from quilt_pods.peer_watch import PeerWatch
from quilt_pods.places import Claim, NodePlaces
from quilt_pods.pod_watch import PodWatch, ignore
from quilt_pods.runtime import PolicyRuntime
from quilt_pods.sender import Sender
from quilt_pods.sources.peers import PeerSet, PeerSets
from quilt_pods.sources.pods import LocalPods
from quilt_pods.sources.policies import NamespacedPolicies, UnreadPolicy
from quilt_pods.waiting import WaitingPods
from quilt_policy.compile import Compiler
from quilt_policy.objects import Pod
from quilt_policy.program import PodName
from quilt_policy.selectors import PeerSelector

T = TypeVar("T")

# Objects in one page of a list.
_PAGE = 500


class Enforcement:
    """One node's policies, from the beginning.

    `claims()` are the mesh's, `enforcing()` says whether the runtime is configured to enforce any; `reported`
    hears that `problems`, `named` that `uid` may answer something else.
    """

    def __init__(
        self,
        client: Client,
        node: str,
        runtime: PolicyRuntime,
        pods: PodWatch,
        metrics: PolicyMetrics,
        *,
        claims: Callable[[], Iterable[Claim]],
        enforcing: Callable[[], bool],
        reported: Callable[[], None],
        named: Callable[[], None],
    ) -> None:
        self._client = client
        self._node = node
        self._pods = pods
        self._metrics = metrics
        self._claims = claims
        self._enforcing = enforcing
        self._named = named
        self._compiler = compiler = Compiler()
        self._sender = Sender(
            compiler, runtime, metrics, complete=self._complete, unknown=self._unknown, reported=reported
        )
        self._to_list = asyncio.Event()
        self._policies = NamespacedPolicies(
            compiler.put_policy, compiler.drop_policy, self._namespace_ready, self._to_list.set
        )
        self._policy_watch = self._make_policy_watch()
        self._local = LocalPods(self._put_pod, compiler.drop_pod, pods.reported, self._policies)
        self._places = NodePlaces(compiler.put_place, compiler.drop_place)
        self._sets = PeerSets(self._put_set, self._drop_set)
        self._peers = PeerWatch(client, self._sets, self._changed)
        self._cluster = ClusterPolicies(client, compiler, self._changed)
        self._waiting = WaitingPods(client, node, self._local, metrics, self._changed)
        self._selectors: dict[str, PeerSelector] = {}
        self._listed = False

    @property
    def problems(self) -> list[str]:
        """Why policies are not enforced as they should be, as sentences."""
        return [self._sender.problem] if self._sender.problem else []

    def uid(self, pod: PodName) -> str:
        """Return the uid by which the API knows a pod of the runtime's."""
        return self._local.uid(pod)

    def mesh_changed(self) -> None:
        """Tell that claims may be others."""
        self._places.follow(self._claims())
        self._changed()

    def restored(self) -> None:
        """Tell that the runtime is a new one, which knows nothing."""
        self._sender.restored()

    async def run(self) -> None:
        """Follow and send for ever."""
        self.mesh_changed()
        self._pods.listeners.append(self._pods_changed)
        try:
            async with asyncio.TaskGroup() as group:
                self._pods.waits = lambda pod: self._waiting.look_for(pod, group)
                for watch in (self._pod_watch(), self._policy_watch):
                    group.create_task(follow(self._client, watch))
                for service in (self._peers, self._cluster, self._sender):
                    group.create_task(service.run())
                group.create_task(self._list_namespaces())
        finally:
            self._pods.listeners.remove(self._pods_changed)
            self._pods.waits = ignore

    # What comes in.

    def _pod_watch(self) -> ListWatch[Any]:
        return ListWatch(
            POD.path(),
            Pod,
            listed=self._and_changed(self._local.listed),
            changed=self._and_changed(self._local.changed),
            query={"fieldSelector": f"spec.nodeName={self._node}"},
        )

    def _make_policy_watch(self) -> ListWatch[Any]:
        return ListWatch(
            NETWORKPOLICY.path(),
            UnreadPolicy,
            listed=self._policies_listed,
            changed=self._and_changed(self._policies.changed),
            rewound=self._policies.rewound,
            limit=_PAGE,
        )

    def _policies_listed(self, items: Iterable[UnreadPolicy]) -> None:
        self._policies.listed(items, int(self._policy_watch.version))
        self._changed()

    async def _list_namespaces(self) -> NoReturn:
        """List the policies of namespaces that got their first pod, for ever."""
        backoff = Backoff()
        while True:
            await self._to_list.wait()
            self._to_list.clear()
            for namespace in self._policies.to_list:
                try:
                    body = await self._client.send(read(NETWORKPOLICY.path(namespace=namespace)), long=True)
                    items, version = decode_list(body, UnreadPolicy)
                    self._policy_watch.past = max(self._policy_watch.past, version)
                    self._policies.listed_alone(namespace, items, version)
                except FAILURES as error:
                    log.info("policies_not_listed", namespace=namespace, error=str(error))
                    self._to_list.set()
                    await asyncio.sleep(backoff.delay())
                else:
                    backoff.reset()
            if self._policies.to_list:
                self._to_list.set()
                await asyncio.sleep(backoff.delay())
            self._changed()

    def _and_changed(self, take: Callable[[T], None]) -> Callable[[T], None]:
        def taken(items: T) -> None:
            take(items)
            self._changed()

        return taken

    def _namespace_ready(self, namespace: str) -> None:
        self._local.ready(namespace)

    def _put_pod(self, pod: Pod) -> None:
        self._compiler.put_pod(pod, connected=self._local.is_connected(pod.key))

    def _pods_changed(self) -> None:
        self._local.look()
        self._changed()

    def _put_set(self, peers: PeerSet) -> None:
        selector = self._selector(peers)
        if selector is None:
            log.warning("peers_unusable", selector=peers.hash, error="its text is not that of its hash")
            return
        self._selectors[peers.hash] = selector
        self._compiler.put_members(selector, peers.v4, complement=peers.complement)
        self._changed()

    def _drop_set(self, name: str) -> None:
        if selector := self._selectors.pop(name, None):
            self._compiler.drop_members(selector)

    def _selector(self, peers: PeerSet) -> PeerSelector | None:
        """Return whose set it is: of those that are needed, or of a family the one that its text says."""
        needed = {selector.hash: selector for selector in self._compiler.selectors}
        if selector := needed.get(peers.hash):
            return selector
        try:
            selector = PeerSelector.parse(peers.selector)
        except msgspec.MsgspecError:
            return None
        return selector if selector.hash == peers.hash else None

    # What is sent.

    def _changed(self) -> None:
        """Have the sender look; the metrics say what there is."""
        self._peers.need(selector.label for selector in self._compiler.selectors)
        self._metrics.policies.set(self._policies.count + self._cluster.count)
        self._metrics.sets.set(len(self._sets.known))
        self._named()
        self._sender.changed()

    def _complete(self) -> bool:
        """Whether every list was there once: from then on a list that is late holds up nothing else.

        And whether the runtime expects policies.
        """
        if not self._listed:
            known = self._local.complete and self._policies.complete and self._cluster.complete
            self._listed = known and not self._policies.to_list and self._peers.complete
        return self._listed and self._enforcing()

    def _unknown(self) -> set[str]:
        return {selector.label for selector in self._compiler.selectors} - self._sets.known

"""What a node is to enforce, kept current: policies, pods and addresses in, a program and its changes out.

    policy --draft--> what it says --link, with the pod's ports and what is known of addresses--> chain
    pod --select--> the policies that hold for it ---------------------------------------------------^

A pod is compiled again when something that it rests on changed: its labels, a policy of its namespace, its
namespace's labels, whether a named port has a number. Pods that are held to the same drafts share a chain,
and members of sets are no part of chains. So an event costs what it touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from quilt_policy.addresses import Addresses, Known
from quilt_policy.change import Change
from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.drafts import ClusterDraft, draft_cluster
from quilt_policy.ledger import Assigned, Ledger
from quilt_policy.linking import Held, Linked, Linker
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.places import Place
from quilt_policy.program import PodName, Program
from quilt_policy.selection import LocalPod, Policies
from quilt_policy.selectors import PeerSelector


class Compiler:
    """Everything that a node's agent knows for its pods, and the program that follows from it.

    Input may come in any order and any number of times. Nothing is compiled before `change` or `program` is
    called.
    """

    def __init__(self) -> None:
        self._addresses = Addresses()
        self._ledger = Ledger(self._addresses)
        self._policies = Policies()
        self._cluster: dict[str, ClusterDraft] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pods: dict[PodName, LocalPod] = {}
        self._links: dict[Held, Linked] = {}
        self._chains: dict[PodName, tuple[Held, ...]] = {}
        self._dirty: set[PodName] = set()

    # What there is.

    def put_pod(self, pod: Pod, *, connected: bool = False) -> None:
        """Note a pod of this node; one of the host's network has no policies.

        One that is not `connected` has no address yet. It has no profile while anything is unknown of the
        addresses that a ClusterNetworkPolicy denies it: it starts late rather than open. To one that is
        connected everybody who may be among them is denied meanwhile.
        """
        if pod.spec.host_network:
            self.drop_pod(pod.key)
            return
        local = LocalPod(pod.key, pod.labels, pod.ports, connected)
        if self._pods.get(pod.key) != local:
            self._pods[pod.key] = local
            self._policies.pods_of.setdefault(pod.namespace, set()).add(pod.key)
            self._dirty.add(pod.key)

    def drop_pod(self, pod: PodName) -> None:
        """Note that a pod is gone."""
        if self._pods.pop(pod, None) is not None:
            self._policies.leave(pod)
            self._dirty.add(pod)

    def put_policy(self, policy: NetworkPolicy) -> None:
        """Note a NetworkPolicy; one of a namespace without pods here matters once there is one."""
        self._policies.put(policy.namespace, policy.name, policy)
        self._dirty |= self._policies.pods_of.get(policy.namespace, set())

    def drop_policy(self, namespace: str, name: str) -> None:
        """Note that a NetworkPolicy is gone."""
        self._policies.put(namespace, name, None)
        self._dirty |= self._policies.pods_of.get(namespace, set())

    def put_cluster_policy(self, policy: ClusterNetworkPolicy) -> None:
        """Note a ClusterNetworkPolicy."""
        self._cluster[policy.name] = draft_cluster(policy)
        self._dirty |= self._pods.keys()

    def drop_cluster_policy(self, name: str) -> None:
        """Note that a ClusterNetworkPolicy is gone."""
        if self._cluster.pop(name, None) is not None:
            self._dirty |= self._pods.keys()

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Note a namespace's labels; they matter to ClusterNetworkPolicies alone."""
        if self._namespaces.get(name) != labels:
            self._namespaces[name] = dict(labels)
            self._dirty |= self._policies.pods_of.get(name, set())

    def drop_namespace(self, name: str) -> None:
        """Note that a namespace is gone."""
        if self._namespaces.pop(name, None) is not None:
            self._dirty |= self._policies.pods_of.get(name, set())

    # Which addresses there are.

    def put_members(self, selector: PeerSelector, v4: bytes, *, complement: bool = False) -> None:
        """Note who is behind a selector: IPv4 addresses, 4 bytes each, sorted, without doubles.

        With `complement` it is the pods that are not selected. A family of a named port has no addresses: it
        is put beside one selector for each number, so that "nobody" differs from "not known yet".
        """
        self._members(selector, Known(v4, complement))

    def drop_members(self, selector: PeerSelector) -> None:
        """Note that nothing is known of a selector any more."""
        self._members(selector, None)

    def put_place(self, name: str, place: Place) -> None:
        """Note a node, by its name or its claim's."""
        self._place(name, place)

    def drop_place(self, name: str) -> None:
        """Note that a node is gone."""
        self._place(name, None)

    # What follows.

    @property
    def selectors(self) -> set[PeerSelector]:
        """The selectors whose addresses are needed, of named ports the families."""
        self._settle()
        return {selector for linked in self._links.values() for selector in linked.rests_on}

    @property
    def withheld(self) -> dict[PodName, frozenset[PeerSelector]]:
        """Pods that must not start yet, with the selectors of which nothing is known."""
        self._settle()
        return {pod: missing for pod in self._pods if (missing := self._missing(pod))}

    def change(self) -> Change:
        """Return what differs from what `change` or `program` returned last."""
        self._settle()
        return self._ledger.take_change()

    def program(self) -> Program:
        """Return everything."""
        self._settle()
        return self._ledger.take_program()

    def _members(self, selector: PeerSelector, known: Known | None) -> None:
        was_known = self._addresses.is_known(selector)
        if self._addresses.put(selector, known):
            family = selector.family
            self._relink(linked for linked in self._links.values() if family in linked.rests_on)
        if was_known != (known is not None):
            self._relink(linked for linked in self._links.values() if selector in linked.denies)
        self._ledger.refill(self._ledger.sets_of(selector))

    def _place(self, name: str, place: Place | None) -> None:
        before = self._addresses.places.put(name, place)
        for one in (before, place):
            if one is None or before == place:
                continue
            self._ledger.refill(self._ledger.sets_at(one))
            if one.host is not None:
                host = one.host.packed
                self._relink(
                    linked for linked in self._links.values() if any(host in block for block in linked.blocks)
                )

    def _relink(self, stale: Iterable[Linked]) -> None:
        """Have chains made again, and the pods that have them compiled."""
        outdated = set(stale)
        for held in [held for held, linked in self._links.items() if linked in outdated]:
            del self._links[held]
        self._dirty.update(
            pod for pod, chains in self._chains.items() if any(held not in self._links for held in chains)
        )

    def _settle(self) -> None:
        """Compile pods that changed."""
        if not self._dirty:
            return
        for pod in sorted(self._dirty):
            self._compile(pod)
        self._dirty.clear()
        in_use = {held for chains in self._chains.values() for held in chains}
        self._links = {held: linked for held, linked in self._links.items() if held in in_use}

    def _compile(self, name: PodName) -> None:
        pod = self._pods.get(name)
        self._chains[name] = tuple(self._held(pod)) if pod is not None else ()
        if not self._chains[name]:
            del self._chains[name]
        chains = [self._linked(held) for held in self._chains.get(name, ())]
        withheld = pod is None or self._missing(name)
        self._ledger.assign(name, None if withheld else Assigned.of(name, chains))

    def _held(self, pod: LocalPod) -> Iterator[Held]:
        labels = self._namespaces.get(pod.name.namespace, {})
        return self._policies.holds(pod, labels, self._cluster.values())

    def _linked(self, held: Held) -> Linked:
        linked = self._links.get(held)
        if linked is None:
            linked = self._links[held] = Linker(self._addresses, held).link()
        return linked

    def _missing(self, name: PodName) -> frozenset[PeerSelector]:
        pod = self._pods.get(name)
        if pod is None or pod.connected:
            return frozenset()
        linked = (self._links[held] for held in self._chains.get(name, ()))
        denied = (selector for one in linked for selector in one.denies)
        return frozenset(selector for selector in denied if not self._addresses.is_known(selector))

"""The kinds that decide who is behind a selector, followed in the order in which they are needed.

Policies and namespaces first: 100,000 pods that come after them are sorted once. QuiltPeers last: they are
compared with what is known by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

from quilt_crds.names import (
    CLUSTERNETWORKPOLICY,
    NAMESPACE,
    NETWORKPOLICY,
    NODE,
    POD,
    QUILTENDPOINTS,
    QUILTPEERS,
)
from quilt_crds.wire import QuiltSubnet
from quilt_crds.wire_policy import SELECTOR_LIMIT, QuiltEndpoints, QuiltPeers
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.core.cluster_policy import SeenPolicy
from quilt_operator.core.peersets import PeerSets
from quilt_operator.policies.conditions import Conditions
from quilt_operator.policies.entering import Entering, Entries
from quilt_operator.policies.writer import PeersWriter
from quilt_policy.objects import Namespace, NetworkPolicy, Node, Pod
from quilt_policy.selectors import PeerSelector, wanted

_CLUSTER_WIDE = ""


class Following:
    """All watches of policies, from `begin` to `stop`; they keep `sets` up to date and wake `writer`."""

    def __init__(self, client: Client, writer: PeersWriter, conditions: Conditions, silence: float) -> None:
        self._client, self._silence = client, silence
        self._writer, self._conditions = writer, conditions
        self.sets: PeerSets = writer.sets
        self._known: dict[str, QuiltPeers] | None = {}
        """The QuiltPeers that there are by name, until all else is known."""
        self.watches: dict[str, Entering[Any, Any]] = {}

    async def begin(self) -> None:
        """Read everything, then resume what a predecessor wrote."""
        await self._follow(self._network_policies(), self._cluster_policies(), self._namespaces())
        await self._follow(self._endpoints(), self._pods())
        await self._follow(self._peers())
        known, self._known = self._known or {}, None
        self._writer.resume(known.values())
        log.info("policies_read", **self.sets.measure(), peers=len(known))

    def stop(self) -> None:
        """Follow nothing any more."""
        for watch in self.watches.values():
            watch.stop()

    def look_at_nodes(self) -> None:
        """Follow Nodes once a policy names some by their labels; few clusters have one."""
        if self.sets.nodes and NODE.plural not in self.watches:
            self._start(self._nodes())

    def put_claim(self, name: str, claim: QuiltSubnet | None) -> None:
        """Enter the state of a claim; None for one that is gone."""
        network = _network(claim.cidr) if claim is not None else None
        if claim is None or network is None:
            self.sets.addresses.drop_claim(name)
        else:
            self.sets.addresses.put_claim(name, claim.node, network)
        self._writer.wake()

    async def _follow(self, *watches: Entering[Any, Any]) -> None:
        for watch in watches:
            self._start(watch)
        await asyncio.gather(*(watch.complete.wait() for watch in watches))

    def _start(self, watch: Entering[Any, Any]) -> None:
        self.watches[watch.name] = watch
        watch.start()

    def _entering(self, *what: Any, **settings: Any) -> Entering[Any, Any]:
        resource, kind, *entries = what
        return Entering(
            self._client,
            resource,
            kind,
            Entries(*entries),
            self._writer.wake,
            silence=self._silence,
            **settings,
        )

    def _network_policies(self) -> Entering[Any, Any]:
        def key(policy: NetworkPolicy) -> Hashable:
            return policy.namespace, policy.name

        def put(policy: NetworkPolicy) -> None:
            self._put_policy(key(policy), wanted([policy]))

        keys = partial(self._policies, cluster_wide=False)
        return self._entering(NETWORKPOLICY, NetworkPolicy, key, put, self.sets.drop_policy, keys)

    def _cluster_policies(self) -> Entering[Any, Any]:
        def key(policy: SeenPolicy) -> Hashable:
            return _CLUSTER_WIDE, policy.name

        def put(policy: SeenPolicy) -> None:
            self._put_policy(key(policy), wanted((), [policy]))
            self._conditions.put(policy)

        def drop(which: tuple[str, str]) -> None:
            self.sets.drop_policy(which)
            self._conditions.drop(which[1])

        keys = partial(self._policies, cluster_wide=True)
        return self._entering(CLUSTERNETWORKPOLICY, SeenPolicy, key, put, drop, keys, optional=True)

    def _put_policy(self, key: Hashable, selectors: set[PeerSelector]) -> None:
        written = {selector for selector in selectors if len(_longest(selector).text) <= SELECTOR_LIMIT}
        if len(written) < len(selectors):
            log.warning("selector_too_long", policy=key)
        self.sets.put_policy(key, written)

    def _policies(self, *, cluster_wide: bool) -> list[Any]:
        keys: list[Any] = self.sets.policies()
        return [key for key in keys if (key[0] == _CLUSTER_WIDE) is cluster_wide]

    def _namespaces(self) -> Entering[Any, Any]:
        known = self.sets.identities

        def put(namespace: Namespace) -> None:
            known.put_namespace(namespace.name, namespace.labels)

        return self._entering(NAMESPACE, Namespace, _name, put, known.drop_namespace, known.namespaces)

    def _pods(self) -> Entering[Any, Any]:
        def key(pod: Pod) -> tuple[str, str]:
            return pod.namespace, pod.name

        sets, query = self.sets, {"fieldSelector": "spec.hostNetwork=false"}
        return self._entering(POD, Pod, key, sets.put_pod, sets.drop_pod, sets.addresses.keys, query=query)

    def _endpoints(self) -> Entering[Any, Any]:
        known = self.sets.addresses

        def put(item: QuiltEndpoints) -> None:
            known.put_endpoints(item.name, item.spec.endpoints)

        return self._entering(QUILTENDPOINTS, QuiltEndpoints, _name, put, known.drop_endpoints, known.nodes)

    def _nodes(self) -> Entering[Any, Any]:
        known = self.sets.nodes

        def put(node: Node) -> None:
            known.put(node.name, node.labels, filter(None, map(_number, node.addresses)))

        return self._entering(NODE, Node, _name, put, known.drop, known.names)

    def _peers(self) -> Entering[Any, Any]:
        def put(peers: QuiltPeers) -> None:
            if self._known is not None:
                self._known[peers.name] = peers
            else:
                self._writer.seen(peers)

        def drop(name: str) -> None:
            if self._known is not None:
                self._known.pop(name, None)
            else:
                self._writer.lost(name)

        def names() -> list[str]:
            return list(self._known) if self._known is not None else self._writer.names()

        return self._entering(QUILTPEERS, QuiltPeers, _name, put, drop, names)


def _name(item: Any) -> str:
    return str(item.name)


def _network(cidr: str) -> IPv4Network | None:
    """Return the subnet; None for one of IPv6, of which addresses are twins, and for what is not a CIDR."""
    try:
        network = ip_network(cidr)
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None


def _number(text: str) -> int | None:
    try:
        return int(IPv4Address(text))
    except ValueError:
        return None


def _longest(selector: PeerSelector) -> PeerSelector:
    """Return what has the longest text of those that are written: a family's members have a number more."""
    return selector.with_number(65535) if selector.is_family else selector

"""ClusterNetworkPolicy (policy.networking.k8s.io/v1beta1), as `objects` has the other kinds.

The description is `apis/v1beta1` of sigs.k8s.io/network-policy-api v0.3.0. A field that is not known is not
seen, and what then has no field at all fails closed, as that API demands.
"""

from __future__ import annotations

import msgspec

from quilt_policy.labels import LabelSelector
from quilt_policy.objects import Wire, WireObject


class NamespacedPods(Wire, frozen=True):
    """Pods by labels, in namespaces by labels."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(Wire, frozen=True):
    """Which pods a policy holds for; none where no known field is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class ClusterPeer(Wire, frozen=True):
    """The other side: exactly one field is set. Nodes, networks and domain names are of egress alone."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()

    @property
    def pods_known(self) -> bool:
        """Whether it names pods: all that a peer of ingress can do."""
        return self.namespaces is not None or self.pods is not None

    @property
    def known(self) -> bool:
        """Whether it can be applied; domain names cannot."""
        return self.pods_known or self.nodes is not None or bool(self.networks)


class ClusterPortRange(Wire, frozen=True):
    """Ports from `start` to `end`, both included."""

    start: int = 0
    end: int = 0


class ClusterPort(Wire, frozen=True):
    """A port or a range of them."""

    number: int | None = None
    range: ClusterPortRange | None = None

    @property
    def known(self) -> bool:
        """Whether it can be applied."""
        return self.number is not None or self.range is not None


class ClusterProtocolPorts(Wire, frozen=True):
    """Ports of one protocol; all of them where none is named."""

    destination_port: ClusterPort | None = None

    @property
    def known(self) -> bool:
        """Whether it can be applied."""
        return self.destination_port is None or self.destination_port.known


class ClusterProtocol(Wire, frozen=True):
    """Exactly one field is set: ports of a protocol, or a port of whichever protocol by its name."""

    tcp: ClusterProtocolPorts | None = None
    udp: ClusterProtocolPorts | None = None
    sctp: ClusterProtocolPorts | None = None
    destination_named_port: str = ""

    @property
    def known(self) -> bool:
        """Whether it can be applied."""
        ports = [one for one in (self.tcp, self.udp, self.sctp) if one is not None]
        return all(one.known for one in ports) and bool(ports or self.destination_named_port)


class ClusterRule(Wire, frozen=True):
    """A rule of either direction; `from` is of ingress, `to` of egress, `action` Accept, Deny or Pass."""

    action: str = "Deny"
    name: str = ""
    from_: tuple[ClusterPeer, ...] = msgspec.field(default=(), name="from")
    to: tuple[ClusterPeer, ...] = ()
    protocols: tuple[ClusterProtocol, ...] = ()

    @property
    def peers(self) -> tuple[ClusterPeer, ...]:
        """`from` or `to`, of which a rule has one."""
        return self.from_ or self.to

    @property
    def known(self) -> bool:
        """Whether everything in it can be applied.

        Of a rule where it cannot, Accept matches nothing, and Deny and Pass deny everything.
        """
        if not all(one.known for one in self.protocols):
            return False
        return bool(self.peers) and all(peer.pods_known if self.from_ else peer.known for peer in self.peers)


class ClusterNetworkPolicySpec(Wire, frozen=True):
    """A tier (Admin or Baseline), a priority (0 first), who it holds for, and rules in order."""

    tier: str = ""
    priority: int = 0
    subject: Subject = Subject()
    ingress: tuple[ClusterRule, ...] = ()
    egress: tuple[ClusterRule, ...] = ()


class ClusterNetworkPolicy(WireObject, frozen=True):
    """A ClusterNetworkPolicy."""

    spec: ClusterNetworkPolicySpec = ClusterNetworkPolicySpec()

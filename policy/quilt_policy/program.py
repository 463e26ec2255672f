"""What a node enforces, as values: the agent compiles it from policies, the runtime makes nftables of it.

Names of chains and sets are hashes of what they are made of (at most 20 characters of `[a-z0-9_]`), so a
chain of that name never changes, and pods that are held to the same policies share it. Only members of sets
change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, unique


@unique
class Action(Enum):
    """What a rule does with a connection that it matches; PASS leaves it to the next tier."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105


@unique
class Direction(Enum):
    """Of a connection, as the pod sees it that is held to a chain."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


@unique
class Scope(Enum):
    """Which addresses the other side may have."""

    EVERY = "every address, also outside of the cluster"
    PODS = "every pod's address"
    MEMBERS = "the members of a set"
    OTHERS = "every pod's address that is no member of a set"


@unique
class Protocol(IntEnum):
    """Protocols that a policy can name, by their number in the IP header."""

    TCP = 6
    UDP = 17
    SCTP = 132


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """Ports of the server in one protocol: inclusive ranges, sorted and disjoint; none are all ports."""

    protocol: Protocol
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection; `name` is the set's, for MEMBERS and OTHERS."""

    scope: Scope = Scope.EVERY
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `ports` of none at all is every protocol, ICMP too.

    `origin` says for people where it was written: `default/web ingress 0`,
    `ClusterNetworkPolicy/guard egress 2`.
    """

    action: Action
    peer: Peer
    ports: tuple[Ports, ...] = ()
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """What holds for pods in one direction: the rules of the three tiers, in order.

    `policies`, the rules of NetworkPolicies, is None where none selects the pods in that direction: then
    Baseline is asked. Where one does, what none of its rules accepts is denied, and Baseline is not asked.
    """

    name: str
    direction: Direction
    admin: tuple[Rule, ...] = ()
    policies: tuple[Rule, ...] | None = None
    baseline: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Members:
    """Addresses in network byte order, without separators: 4 bytes each in `v4`, 16 bytes each in `v6`.

    Those of an AddressSet of ranges come in pairs: the first address and the last one of each range.
    """

    v4: bytes = b""
    v6: bytes = b""


@dataclass(frozen=True, slots=True)
class AddressSet:
    """The addresses behind a selector, or of an ipBlock (`ranges`: sorted, disjoint, replaced as a whole)."""

    name: str
    members: Members = field(default_factory=Members)
    ranges: bool = False


@dataclass(frozen=True, slots=True, order=True)
class PodName:
    """Which pod: `uid` tells a pod from a later one of the same name.

    Of a static pod the kubelet passes a uid of its own to CNI, 32 hexadecimal digits, which its mirror pod
    has as annotation `kubernetes.io/config.mirror`. A uid that is no UUID is looked for under namespace and
    name as well, so either may be announced.
    """

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Which chains hold for a pod of this node; an empty name where nothing selects it in that direction.

    A pod reaches itself and its own node, unless `judge_self` (a ClusterNetworkPolicy holds for it) has its
    chains asked: of those the rules of NetworkPolicies then accept it whatever they say. What comes from the
    pod's own node is never judged.
    """

    pod: PodName
    ingress: str = ""
    egress: str = ""
    judge_self: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """All that a node enforces; every chain and set that is named is there.

    `pods` has every pod of the node that has an address of the mesh, those too that nothing selects: what is
    not announced does not start, and where it runs it is cut off.
    """

    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, AddressSet] = field(default_factory=dict)
    pods: dict[PodName, Profile] = field(default_factory=dict)

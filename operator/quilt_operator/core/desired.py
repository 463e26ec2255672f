"""What should be: a node's claims and what they publish.

The agent says which address it listens on; the Node's addresses, which the kubelet writes, confirm it. Only
an administrator is believed without confirmation, about one node (`spec.hostIP`) or all of them (the
network's `underlay`): a stolen agent token cannot direct another node's traffic anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from msgspec.structs import replace

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_crds.wire import Mesh, Node, QuiltNode, QuiltSubnet
from quilt_operator.core.plan import Network, parse_cidr

HOST_IP_UNKNOWN: Final = "HostIPUnknown"
HOST_IP_UNCONFIRMED: Final = "HostIPUnconfirmed"
HOST_IP_CONFLICT: Final = "HostIPConflict"


@dataclass(frozen=True, slots=True)
class Address:
    """The underlay address to publish (empty: none), and why it is not the one that was asked for."""

    host_ip: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """What to do about a node's claims: every one is kept or released.

    `create` are (family, requested CIDR or ""), `moves` pairs of kept ones: in use, and granted in its place.
    """

    keep: tuple[QuiltSubnet, ...] = ()
    create: tuple[tuple[int, str], ...] = ()
    release: tuple[QuiltSubnet, ...] = ()
    moves: tuple[tuple[QuiltSubnet, QuiltSubnet], ...] = ()


def has_left(node: QuiltNode | None, kube: Node | None) -> bool:
    """Whether a node is out of the mesh: its QuiltNode is gone or going, and so is its Node.

    A QuiltNode that is deleted while the Node stays is a mistake or is made again by the agent: its pods run.
    """
    return (node is None or node.deleting) and kube is None


def staying(node: QuiltNode) -> QuiltNode:
    """A node whose QuiltNode is deleted, but whose Node stays: it is served like any other until then."""
    return replace(node, metadata=replace(node.metadata, deletion_timestamp=""))


def confirmed(
    host_ip: str, node: QuiltNode | None, kube: Node | None, underlay: Sequence[Network] = ()
) -> bool:
    """Whether an address is a node's: by an administrator's word, or by its own Node.

    In the networks of `underlay` its agent's word is enough, for as long as the agent stays with it.
    """
    if node is not None and node.spec.host_ip:
        return node.spec.host_ip == host_ip
    if kube is None:
        return False
    if host_ip in kube.ips:
        return True
    reported = node is not None and node.status.host_ip == host_ip
    return reported and any(ip_address(host_ip) in network for network in underlay)


def address(
    node: QuiltNode,
    kube: Node | None,
    used: Mesh,
    holder: Callable[[str], str | None],
    underlay: Sequence[Network] = (),
) -> Address:
    """The address under which peers shall reach `node`; of those in `underlay` its agent is believed.

    `used` is what is published now: its address stays until another one is confirmed. `holder` names another
    node that is Up under an address and confirmed to have it. The first one keeps it, also against a node
    that was Down meanwhile.
    """
    wanted = node.spec.host_ip or node.status.host_ip
    published = used.host_ip
    if not wanted:
        return Address(published, HOST_IP_UNKNOWN, "the agent has not reported its host IP yet")
    if not confirmed(wanted, node, kube, underlay):
        known = ", ".join(sorted(kube.ips)) if kube else "none, the Node does not exist"
        also = f" or in underlay.cidrs ({', '.join(map(str, underlay))})" if underlay else ""
        message = (
            f"{wanted} is not among the Node's addresses ({known}){also}; "
            "correct --host-ip of the agent or --node-ip of the kubelet, or set spec.hostIP"
        )
        return Address(published, HOST_IP_UNCONFIRMED, message)
    other = holder(wanted)
    if other is not None and used != Mesh(UP, wanted):
        former = published if published != wanted else ""
        return Address(former, HOST_IP_CONFLICT, f"{wanted} is already published for node {other}")
    return Address(wanted)


def wishes(node: QuiltNode, kube: Node | None, *, adopts: bool) -> dict[int, str]:
    """The subnet of each family that somebody else has chosen: the Node's podCIDRs, or an administrator."""
    texts = (kube.spec.pod_cidrs if kube is not None else ()) if adopts else (node.spec.subnet,)
    found = (parse_cidr(text) for text in texts if text)
    return {network.version: str(network) for network in found if network is not None}


def plan_claims(
    node: QuiltNode | None,
    owned: Sequence[tuple[int, QuiltSubnet]],
    families: Collection[int],
    wanted: Mapping[int, str],
    *,
    only_wanted: bool = False,
) -> ClaimPlan:
    """Which claims `node` keeps, needs and gives up; `owned` are its (family, claim), oldest first.

    `wanted` are subnets chosen by others, by family; with `only_wanted` no other one is asked for.

    A node that is gone gives up all; one that came back gets back what it had. What its runtime serves is
    kept until it serves the chosen one. Without a choice one claim of each family stays: of several, all
    until the agent says which one its runtime serves, because it may just have taken any.
    """
    if node is None or node.deleting:
        return ClaimPlan(release=tuple(claim for _, claim in owned))
    keep: list[QuiltSubnet] = []
    create: list[tuple[int, str]] = []
    moves: list[tuple[QuiltSubnet, QuiltSubnet]] = []
    for family in families:
        mine = [claim for version, claim in owned if version == family]
        wish = wanted.get(family, "")
        granted = next((claim for claim in mine if claim.cidr == wish), None)
        if granted is not None:
            used = _used_beside(node, granted, mine)
            keep += [*used, granted]
            moves += [(claim, granted) for claim in used]
        elif mine:
            keep += _in_use(node, mine) or [_best(mine)]
        if granted is None and (wish or not (mine or only_wanted)):
            create.append((family, wish))
    # A claim of a family that the network no longer has stays: the network may get it back.
    keep += [claim for version, claim in owned if version not in families]
    release = tuple(claim for _, claim in owned if claim not in keep)
    return ClaimPlan(tuple(keep), tuple(create), release, tuple(moves))


def _used_beside(node: QuiltNode, granted: QuiltSubnet, mine: Sequence[QuiltSubnet]) -> list[QuiltSubnet]:
    """The claims that must stay beside the granted one: none once the runtime serves that."""
    if granted.cidr in node.status.served_subnets:
        return []
    return _in_use(node, [claim for claim in mine if claim is not granted])


def _in_use(node: QuiltNode, claims: Sequence[QuiltSubnet]) -> list[QuiltSubnet]:
    """Claims that pods may have addresses of: what the agent says, else all that were not given up."""
    served = [claim for claim in claims if claim.cidr in node.status.served_subnets]
    return served or [c for c in claims if c.mesh.phase != RELEASING and _had_agent(node, c)]


def _had_agent(node: QuiltNode, claim: QuiltSubnet) -> bool:
    # Whose address was published without an administrator's word had an agent, whatever its status says now.
    return node.reported or bool(claim.mesh.host_ip and not node.spec.host_ip)


def _best(mine: Sequence[QuiltSubnet]) -> QuiltSubnet:
    """The claim to stay with where none is in use: one that was not given up, else the oldest."""
    return max(mine, key=lambda claim: claim.mesh.phase != RELEASING)


def mesh(host_ip: str, *, down: bool) -> Mesh:
    """What a kept claim publishes. Without an address there is nothing to route to: not Up."""
    return Mesh(DOWN if down or not host_ip else UP, host_ip)

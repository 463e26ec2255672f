"""What should be: a node's claims and what they publish.

The agent says which address it listens on; the Node's addresses, which the kubelet writes, confirm it. Only
an administrator (`spec.hostIP`) is believed without confirmation, so a stolen agent token cannot direct
another node's traffic anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quilt_operator.core.allocator import parse_cidr
from quilt_operator.core.model import DOWN, RELEASING, UP, Claim, KubeNode, Mesh, MeshNode

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
    """What to do about a node's claims: hold on to, make (family, requested CIDR or ""), let go."""

    keep: tuple[Claim, ...] = ()
    create: tuple[tuple[int, str], ...] = ()
    release: tuple[Claim, ...] = ()


def address(
    node: MeshNode,
    kube: KubeNode | None,
    used: Mesh,
    holder: Callable[[str], str | None],
) -> Address:
    """The address under which peers shall reach `node`.

    `used` is what they are told now: its address stays until another one is confirmed. `holder` names another
    node that is Up under an address; the first one keeps it, also against a node that was Down meanwhile.
    """
    wanted = node.wanted_host_ip or node.host_ip
    published = used.host_ip
    if not wanted:
        return Address(published, HOST_IP_UNKNOWN, "the agent has not reported its host IP yet")
    if not node.wanted_host_ip and (kube is None or wanted not in kube.addresses):
        known = ", ".join(sorted(kube.addresses)) if kube else "none, the Node does not exist"
        message = (
            f"{wanted} is not among the Node's addresses ({known}); "
            "correct --host-ip of the agent or --node-ip of the kubelet, or set spec.hostIP"
        )
        return Address(published, HOST_IP_UNCONFIRMED, message)
    other = holder(wanted)
    if other is not None and used != Mesh(UP, wanted):
        former = published if published != wanted else ""
        return Address(former, HOST_IP_CONFLICT, f"{wanted} is already published for node {other}")
    return Address(wanted)


def wishes(node: MeshNode, kube: KubeNode | None, *, adopts: bool) -> dict[int, str]:
    """The subnet of each family that somebody else has chosen: the Node's podCIDRs, or an administrator."""
    texts = (kube.pod_cidrs if kube is not None else ()) if adopts else (node.wanted_subnet,)
    found = (parse_cidr(text) for text in texts)
    return {network.version: str(network) for network in found if network is not None}


def plan_claims(
    node: MeshNode | None,
    owned: Sequence[tuple[int, Claim]],
    families: Sequence[int],
    wanted: Mapping[int, str],
    *,
    only_wanted: bool = False,
) -> ClaimPlan:
    """Which claims `node` keeps, needs and gives up; `owned` are its (family, claim), oldest first.

    `wanted` are subnets chosen by others, by family; with `only_wanted` no other one is asked for.

    A node that is gone gives up all; one that came back takes back what it had; of several claims in one
    family the administrator's choice wins, else one that is in use, else the oldest.
    """
    if node is None or node.deleting:
        return ClaimPlan(release=tuple(claim for _, claim in owned))
    keep: list[Claim] = []
    create: list[tuple[int, str]] = []
    release: list[Claim] = []
    for family in families:
        mine = [claim for version, claim in owned if version == family]
        wish = wanted.get(family, "")
        chosen = next((claim for claim in mine if claim.cidr == wish), None)
        if wish and chosen is None:
            create.append((family, wish))
        elif mine:
            chosen = chosen or next((c for c in mine if c.mesh.phase != RELEASING), mine[0])
        elif not only_wanted:
            create.append((family, ""))
        keep += [chosen] if chosen else []
        # While an administrator's choice is not granted yet, what the node has stays in use.
        release += [claim for claim in mine if claim is not chosen] if chosen else []
        if chosen is None and mine:
            keep.append(mine[0])
    # A claim of a family that the network no longer has stays: the network may get it back.
    keep += [claim for version, claim in owned if version not in families]
    return ClaimPlan(tuple(keep), tuple(create), tuple(release))


def mesh(host_ip: str, *, down: bool) -> Mesh:
    """What a kept claim publishes. Without an address there is nothing to route to: not Up."""
    return Mesh(DOWN if down or not host_ip else UP, host_ip)


def released(claim: Claim, now: str) -> Mesh:
    """What a claim publishes from when its node is gone; `now` in RFC 3339. The grace period begins once."""
    return Mesh(RELEASING, claim.mesh.host_ip, claim.mesh.released_at or now)

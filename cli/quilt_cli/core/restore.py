"""What putting a backup back comes to: what is missing, what is there already, and what is in the way.

The name of a claim is its CIDR, so nothing that is there is ever replaced: a subnet that another node holds
by now stays that node's, whose pods may have addresses of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from quilt_cli.core.backup_file import Backup
from quilt_cli.core.claim_overlaps import overlapping
from quilt_cli.core.finding import Finding, fail, warn
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.base import InvalidObjectError
from quilt_crds.names import (
    DEFAULT_NETWORK,
    NODE,
    OPERATOR_COMPONENT,
    OPERATOR_DEPLOYMENT,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    RELEASING,
    Resource,
)
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.wire import QuiltNode, QuiltNodeSpec, QuiltSubnet
from quilt_kube.decoding import convert
from quilt_kube.request import Json


@dataclass(frozen=True, slots=True)
class Step:
    """One object to write, and the node that it is about, if any."""

    kind: Resource
    body: Json
    node: str = ""

    @property
    def about(self) -> str:
        """As people name it."""
        return f"{self.kind.kind} {self.body['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, how many objects are there already, and what is in the way or worth knowing."""

    steps: tuple[Step, ...]
    equal: int
    findings: tuple[Finding, ...]


def plan(backup: Backup, cluster: Snapshot, *, skip: bool = False) -> Plan:
    """Compare a backup with a cluster; with `skip` what conflicts is left out, with a warning."""
    rejected = {**_taken(backup, cluster, skip), **_misfits(backup, cluster, skip)}
    held, specs = {claim.name for claim in cluster.subnets}, _specs(cluster)
    claims = [raw for raw in backup.claims if _name(raw) not in held | rejected.keys()]
    different = {_name(raw): one for raw in backup.nodes if (one := _differs(raw, specs, skip))}
    equal_nodes = [raw for raw in backup.nodes if _spec(raw) == specs.get(_name(raw))]
    nodes = [raw for raw in backup.nodes if _name(raw) not in different and raw not in equal_nodes]
    steps = (
        *(Step(QUILTNETWORK, raw) for raw in (backup.network,) if raw and cluster.network is None),
        *(Step(QUILTNODE, _owned(raw, cluster), _name(raw)) for raw in nodes),
        *(Step(QUILTSUBNET, raw, raw["spec"]["node"]) for raw in claims),
    )
    changed = list(_network_differs(backup, cluster))
    equal_network = backup.network is not None and cluster.network is not None and not changed
    equal_claims = sum(_name(raw) in held - rejected.keys() for raw in backup.claims)
    findings = (
        *(_operator_runs(cluster) if claims else ()),
        *changed,
        *different.values(),
        *rejected.values(),
        *_elsewhere(claims, backup, cluster),
        *_absent(claims, cluster),
    )
    return Plan(steps, equal_network + len(equal_nodes) + equal_claims, findings)


def running(cluster: Snapshot) -> bool:
    """Whether an operator works in the cluster, as far as its Deployment and its pods show."""
    operator = cluster.operator
    pods = (pod for pod in cluster.pods or () if pod.component == OPERATOR_COMPONENT)
    return bool(operator and (operator.wanted or operator.ready)) or any(pod.ready for pod in pods)


def _operator_runs(cluster: Snapshot) -> Iterator[Finding]:
    if running(cluster):
        about = f"Deployment {OPERATOR_DEPLOYMENT}"
        message = "it runs, and gives nodes other subnets while theirs are missing"
        scale = f"kubectl -n {cluster.release_namespace} scale deployment {OPERATOR_DEPLOYMENT}"
        yield fail("operator-runs", about, message, f"{scale} --replicas=0, until its pods are gone")


def _network_differs(backup: Backup, cluster: Snapshot) -> Iterator[Finding]:
    if backup.network is None and cluster.network is None:
        message = "neither the file nor the cluster has one, and no claim is accepted without it"
        yield fail("network-absent", f"QuiltNetwork {DEFAULT_NETWORK}", message, "use a backup that has one")
    if backup.network is None or cluster.network is None:
        return
    old, now = _filled(backup.network.get("spec")), _filled(cluster.network.spec)
    if fields := [name for name in sorted({*old, *now}) if old.get(name) != now.get(name)]:
        message = f"it differs from the file's in {', '.join(fields)}, and stays as it is"
        todo = "change the values of the release, which decide it, where the file's are wanted"
        yield warn("network-differs", f"QuiltNetwork {DEFAULT_NETWORK}", message, todo)


def _filled(spec: Any) -> Json:
    """The spec with the defaults that the API server would enter."""
    try:
        return QuiltNetworkSpec.parse(spec or {}).wire()
    except InvalidObjectError:
        return dict(spec)


def _name(raw: Json) -> str:
    return str(raw["metadata"]["name"])


def _spec(raw: Json) -> QuiltNodeSpec:
    return convert(raw, QuiltNode).spec


def _specs(cluster: Snapshot) -> dict[str, QuiltNodeSpec]:
    return {node.name: node.spec for node in cluster.mesh_nodes}


def _differs(raw: Json, specs: dict[str, QuiltNodeSpec], skip: bool) -> Finding | None:
    """What an administrator decided about a node since; an empty spec is only its agent's beginning."""
    judge = warn if skip else fail
    now = specs.get(_name(raw), QuiltNodeSpec())
    if now in (QuiltNodeSpec(), _spec(raw)):
        return None
    message = "its spec in the cluster is another one than in the file"
    todo = f"kubectl edit quiltnode {_name(raw)}, or take it out of the file"
    return judge("node-differs", f"QuiltNode {_name(raw)}", message, todo)


def _owned(raw: Json, cluster: Snapshot) -> Json:
    """The QuiltNode as its agent would make it: deleted together with its Node."""
    host = next((node for node in cluster.kube_nodes or () if node.name == _name(raw)), None)
    if host is None:
        return raw
    owner = NODE.reference(host.name, host.uid)
    return raw | {"metadata": raw["metadata"] | {"ownerReferences": [owner]}}


def _taken(backup: Backup, cluster: Snapshot, skip: bool) -> dict[str, Finding]:
    """Claims of the file whose addresses somebody else holds, by name."""
    judge = warn if skip else fail
    held, found = {claim.name: claim for claim in cluster.subnets}, {}
    claims = [convert(raw, QuiltSubnet) for raw in backup.claims]
    for claim in claims:
        holder = held.get(claim.name)
        if holder is not None and holder.spec != claim.spec:
            message = f"the file has it for node {claim.node}; in the cluster node {holder.node} holds it"
            found[claim.name] = judge("claim-taken", _about(claim), message, _delete(holder))
    missing = [claim for claim in claims if claim.name not in held]
    for claim, other in overlapping(missing, cluster.subnets):
        whose = f"{other.cidr} of node {other.node}"
        message = f"the file has it for node {claim.node}; it overlaps {whose}"
        found[claim.name] = judge("claim-overlaps", _about(claim), message, _delete(other))
    return found


def _about(claim: QuiltSubnet) -> str:
    return f"QuiltSubnet {claim.name}"


def _delete(claim: QuiltSubnet) -> str:
    return (
        f"if no pod of {claim.node} has an address of it: kubectl delete quiltsubnet {claim.name}; "
        "or leave it out by --skip-conflicts"
    )


def _misfits(backup: Backup, cluster: Snapshot, skip: bool) -> dict[str, Finding]:
    """Claims of the file that the network's policy would refuse, by name."""
    raw = cluster.network.spec if cluster.network is not None else (backup.network or {}).get("spec")
    try:
        spec = QuiltNetworkSpec.parse(raw or {})
    except InvalidObjectError:
        return {}
    judge = warn if skip else fail
    found = {}
    held = {claim.name for claim in cluster.subnets}
    for claim in (convert(item, QuiltSubnet) for item in backup.claims):
        if claim.name not in held and (why := _misfit(claim, spec)):
            todo = "kubectl get quiltnetwork default -o yaml: the range must be among its clusterCIDRs"
            found[claim.name] = judge("claim-misfit", _about(claim), why, todo)
    return found


def _misfit(claim: QuiltSubnet, spec: QuiltNetworkSpec) -> str:
    network = ip_network(claim.cidr)
    v6 = network.version == 6
    ranges = (spec.cluster_cidrs_v6 or []) if v6 else spec.cluster_cidrs
    length = spec.node_prefix_length_v6 if v6 else spec.node_prefix_length
    if claim.spec.network != DEFAULT_NETWORK:
        return f"it is of the network {claim.spec.network}; there is only {DEFAULT_NETWORK}"
    if not any(network.subnet_of(ip_network(one)) for one in ranges):  # type: ignore[arg-type]
        return f"it is in none of the network's ranges: {', '.join(ranges) or 'none of its family'}"
    if network.prefixlen != length and spec.ipam.mode != "kubernetes":
        return f"node subnets of this network are /{length}"
    return ""


def _elsewhere(claims: Sequence[Json], backup: Backup, cluster: Snapshot) -> Iterator[Finding]:
    """Nodes that got another subnet since: both are theirs until the operator sees which one is in use."""
    known = {_name(raw) for raw in backup.claims}
    nodes = {(raw["spec"]["node"], ":" in raw["spec"]["cidr"]) for raw in claims}
    for claim in cluster.subnets:
        given_up = claim.name in known or claim.mesh.phase == RELEASING
        if (claim.node, ":" in claim.cidr) in nodes and not given_up:
            message = f"it got {claim.cidr} since; of both it keeps the one whose addresses its pods have"
            yield warn("node-elsewhere", f"Node {claim.node}", message, "quiltctl status, afterwards")


def _absent(claims: Sequence[Json], cluster: Snapshot) -> Iterator[Finding]:
    if cluster.kube_nodes is None:
        return
    there = {node.name for node in cluster.kube_nodes}
    for name in sorted({raw["spec"]["node"] for raw in claims} - there):
        message = "it is not in the cluster yet: its claims are released after network.reuseGracePeriod"
        yield warn("node-absent", f"Node {name}", message, "make that longer until it is back")

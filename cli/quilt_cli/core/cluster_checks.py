"""What of a cluster would break the mesh, before an install and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quilt_cli.core import mesh_findings
from quilt_cli.core.beside_flannel import ANNOTATION
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import Finding, fail, ok, unknown, warn
from quilt_cli.core.node_checks import major_minor, overlaps
from quilt_cli.core.objects import Workload
from quilt_crds.capacity import DEFAULT_PREFIX_LENGTH, crowding, pod_addresses
from quilt_crds.names import (
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTNODE,
    QUILTPEERS,
    QUILTSUBNET,
    VERSION,
    Resource,
)

# CIDR functions in CEL, selectable fields of CRDs, tokens that name their node.
MINIMUM = (1, 32)
_KINDS = (QUILTNETWORK, QUILTNODE, QUILTSUBNET)
_NAMED = 5


def before(
    facts: ClusterFacts,
    cidrs: Sequence[str],
    prefix_length: int = DEFAULT_PREFIX_LENGTH,
    *,
    beside_flannel: bool = False,
) -> list[Finding]:
    """What to know before an install with these clusterCIDRs, cut into subnets of `prefix_length`.

    With `beside_flannel` a Flannel is not in the way; what it gives out is judged elsewhere.
    """
    anytime = _anytime(facts, cidrs, installed=False, beside_flannel=beside_flannel)
    return [*anytime, *_pods_fit(facts, prefix_length), *_kernels(facts)]


def after(facts: ClusterFacts, cidrs: Sequence[str], *, beside_flannel: bool = False) -> list[Finding]:
    """Whether an install is complete and well; `beside_flannel` as before one."""
    well = ok("mesh", "mesh", f"{len(facts.mesh.mesh_nodes)} nodes, none with a problem")
    anytime = _anytime(facts, cidrs, installed=True, beside_flannel=beside_flannel)
    return [*anytime, *(mesh_findings.of(facts.mesh) or [well])]


def standing(facts: ClusterFacts) -> list[Finding]:
    """Whether API server, CRDs and roll-outs of an installed mesh are as they should be."""
    return [*_version(facts), *_crds(facts, installed=True), *_rollouts(facts)]


def _anytime(
    facts: ClusterFacts, cidrs: Sequence[str], *, installed: bool, beside_flannel: bool
) -> list[Finding]:
    others = _foreign(facts, installed=installed, beside_flannel=beside_flannel)
    return [
        *_version(facts),
        *_crds(facts, installed=installed),
        *(_rollouts(facts) if installed else ()),
        *others,
        *_overlaps(facts, cidrs),
        *_pod_security(facts),
    ]


def _version(facts: ClusterFacts) -> Iterator[Finding]:
    found = major_minor(facts.version.removeprefix("v"))
    if found == (0, 0):
        yield unknown("api-version", "API server", f"its version {facts.version!r} says nothing")
    elif found < MINIMUM:
        message = f"it is {facts.version}; the mesh needs {MINIMUM[0]}.{MINIMUM[1]} or newer"
        yield fail("api-version", "API server", message, "upgrade the cluster first")
    else:
        yield ok("api-version", "API server", facts.version)


def _crds(facts: ClusterFacts, *, installed: bool) -> Iterator[Finding]:
    if facts.crds is None:
        yield unknown("crds", "CustomResourceDefinitions", "they may not be read with these rights")
        return
    absent = [kind.crd_name for kind in _needed(facts) if kind.crd_name not in facts.crds]
    for name, versions in facts.crds.items():
        if VERSION not in versions:
            message = f"it serves {', '.join(versions) or 'no version'}, not {VERSION}"
            yield fail(
                "crd-version", f"CRD {name}", message, "helm upgrade quilt helm/quilt-mesh -n quilt-system"
            )
    if absent and (installed or facts.crds):
        message = f"missing: {', '.join(absent)}"
        todo = f"helm upgrade --install quilt helm/quilt-mesh -n {facts.namespace}"
        yield (fail if installed else warn)("crds", "CustomResourceDefinitions", message, todo)
    elif absent:
        yield ok("crds", "CustomResourceDefinitions", "none yet, the chart brings them")
    else:
        yield ok("crds", "CustomResourceDefinitions", f"{len(facts.crds)} of quilt.io/{VERSION}")


def _needed(facts: ClusterFacts) -> Iterator[Resource]:
    """Yield the kinds that the mesh cannot do without, with what its network turns on.

    What the network itself says, without defaults: one of a release before these kinds says nothing of them.
    """
    yield from _KINDS
    spec = facts.mesh.network.spec if facts.mesh.network is not None else {}
    endpoints, policy = ((spec.get(name) or {}).get("enabled", False) for name in ("endpoints", "policy"))
    if endpoints or policy:
        yield QUILTENDPOINTS
    if policy:
        yield QUILTPEERS


def _foreign(facts: ClusterFacts, *, installed: bool, beside_flannel: bool) -> Iterator[Finding]:
    if facts.foreign is None:
        yield unknown("foreign-network", "DaemonSets", "they may not be read with these rights")
        return
    foreign = [item for item in facts.foreign if not (beside_flannel and "flannel" in item.name)]
    for item in foreign:
        yield fail(
            "foreign-network",
            f"DaemonSet {item.namespace}/{item.name}",
            f"it {item.why}: two pod networks give out addresses that do not know of each other",
            f"kubectl -n {item.namespace} delete daemonset {item.name}; then clean /etc/cni/net.d",
        )
    if foreign:
        return
    built_in = [
        f"{node.name} ({node.status.node_info.kubelet_version or 'a kubelet'})"
        for node in facts.nodes or ()
        if ANNOTATION in node.metadata.annotations
    ]
    if beside_flannel:
        yield ok("foreign-network", "DaemonSets", "no other pod network than Flannel")
    elif built_in:
        message = f"Flannel without a DaemonSet, as k3s has it built in, serves {some(built_in)}"
        todo = (
            "start k3s with --flannel-backend=none --disable-network-policy, then remove the annotations "
            "flannel.alpha.coreos.com/* of the Nodes"
        )
        # A running mesh may only have the annotations left.
        yield (warn if installed else fail)("flannel-built-in", "Nodes", message, todo)
    else:
        yield ok("foreign-network", "DaemonSets", "no other pod network")


def _overlaps(facts: ClusterFacts, cidrs: Sequence[str]) -> Iterator[Finding]:
    clashes = [*_service_overlaps(facts, cidrs), *_node_overlaps(facts, cidrs)]
    yield from clashes
    if facts.service_cidrs is None:
        yield unknown("service-overlap", "Service network", "its range could not be read")
    if facts.nodes is None:
        yield unknown("node-overlap", "Nodes", "their addresses may not be read with these rights")
    if not clashes and facts.nodes is not None and facts.service_cidrs is not None:
        yield ok("overlap", "clusterCIDRs", f"{', '.join(cidrs)} are nobody else's")


def _service_overlaps(facts: ClusterFacts, cidrs: Sequence[str]) -> Iterator[Finding]:
    for service in facts.service_cidrs or ():
        for cidr in cidrs:
            if overlaps(service, [cidr]):
                message = f"{cidr} overlaps the Service network {service}: Services would be unreachable"
                yield fail("service-overlap", "clusterCIDRs", message, "choose another network.clusterCIDRs")


def _node_overlaps(facts: ClusterFacts, cidrs: Sequence[str]) -> Iterator[Finding]:
    nodes = facts.nodes or ()
    inside = [f"{ip} of {node.name}" for node in nodes for ip in node.ips if overlaps(ip, cidrs)]
    double = [
        f"{cidr} of {node.name}" for node in nodes for cidr in node.spec.pod_cidrs if overlaps(cidr, cidrs)
    ]
    if inside:
        message = f"they contain addresses of nodes ({some(inside)}): these nodes would be cut off"
        yield fail("node-overlap", "clusterCIDRs", message, "choose another network.clusterCIDRs")
    if double:
        message = f"kube-controller-manager assigns from the same range ({some(double)})"
        todo = (
            "start it with --allocate-node-cidrs=false; harmless as long as nothing else reads spec.podCIDR"
        )
        yield warn("podcidr-overlap", "Nodes", message, todo)


def _pods_fit(facts: ClusterFacts, prefix_length: int) -> Iterator[Finding]:
    nodes = facts.nodes or ()
    text = crowding((node.name, node.pods, prefix_length) for node in nodes)
    if text:
        todo = "choose a shorter network.nodePrefixLength, or set maxPods of the kubelets"
        yield warn("pods-do-not-fit", "Nodes", text, todo)
    elif nodes:
        message = f"none may run more than the {pod_addresses(prefix_length)} pods that find an address"
        yield ok("pods-fit", "Nodes", message)


def _kernels(facts: ClusterFacts) -> Iterator[Finding]:
    kernels = [(node.name, node.status.node_info.kernel_version) for node in facts.nodes or () if node.linux]
    linux = [(name, release) for name, release in kernels if release]
    old = [f"{name} ({release})" for name, release in linux if major_minor(release) < (5, 3)]
    if old:
        message = f"kernels older than 5.3, without nexthop objects: {some(old)}"
        yield warn("kernel", "Nodes", message, "upgrade where thousands of nodes are meant")
    elif linux:
        yield ok("kernel", "Nodes", f"{len(linux)} with Linux 5.3 or newer")


def _pod_security(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.pod_security in {"baseline", "restricted"}:
        about = f"Namespace {facts.namespace}"
        message = f"it enforces Pod Security {facts.pod_security}, which refuses pods on the host's network"
        label = "pod-security.kubernetes.io/enforce=privileged"
        todo = f"kubectl label --overwrite namespace {facts.namespace} {label}"
        yield fail("pod-security", about, message, todo)


def _rollouts(facts: ClusterFacts) -> Iterator[Finding]:
    for item in (facts.mesh.agents, facts.mesh.operator):
        if item is not None:
            yield _rollout(item)


def _rollout(item: Workload) -> Finding:
    state = f"{item.ready} of {item.wanted} ready, {item.updated} at the current version"
    if item.ready >= item.wanted and item.updated >= item.wanted > 0:
        return ok("rollout", item.about, state)
    if item.kind == "Deployment" and item.ready:
        # Standby replicas: with fewer nodes than replicas some can never run.
        todo = "set operator.replicas to at most the number of nodes"
        return warn("rollout", item.about, f"{state}; one is enough to work", todo)
    todo = f"kubectl -n {item.namespace} rollout status {item.kind.lower()} {item.name}"
    return fail("rollout", item.about, state, todo)


def some(items: Sequence[str]) -> str:
    """The first few of a list, and how many more."""
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")

"""Reading what a trace needs: the API's objects, and on both nodes the kernel and what probes come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

import msgspec

from quilt_cli.api.read import snapshot, together
from quilt_cli.api.read_nodes import NodePod, ask, node_pod, read_dumps
from quilt_cli.api.read_policies import policies
from quilt_cli.core.objects import Raw, at, text
from quilt_cli.core.trace.ends import Cluster
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.probed import Asking, Probed
from quilt_cli.core.trace.site import Site
from quilt_crds.names import ENDPOINTSLICE, POD, SERVICE
from quilt_kube.sync import Client
from quilt_policy.verdicts import World


def read_cluster(client: Client) -> Cluster:
    """Read the objects; raises ApiError, UnreachableError."""
    found, refused = together(
        {
            "mesh": lambda: snapshot(client),
            "policies": lambda: policies(client),
            "pods": lambda: client.items(POD.path()),
            "services": lambda: client.items(SERVICE.path()),
            "slices": lambda: client.items(ENDPOINTSLICE.path()),
        }
    )
    for error in refused.values():
        raise error
    world, _, enforced = found["policies"]
    pods = found["pods"]
    return Cluster(
        found["mesh"], _with_twins(world, pods), enforced, pods, found["services"], found["slices"]
    )


def _with_twins(world: World, pods: Iterable[Raw]) -> World:
    """The same with pods' IPv6 addresses, which no object of the mesh has."""
    known = dict(world.pods)
    for pod in pods:
        held = [ip_address(item["ip"]) for item in at(pod, "status", "podIPs") or ()]
        own = next((known[one] for one in held if one in known), None)
        if own is not None:
            known |= dict.fromkeys(held, own)
    return replace(world, pods=known)


def read_kernels(client: Client, about: Cluster, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The same nodes with their kernels, or why they have none."""
    dumps, silent = read_dumps(client, _pods(about, sites))
    return tuple(
        replace(site, kernel=Kernel(dumps[site.name]), silent="")
        if site.name in dumps
        else replace(site, silent=silent.get(site.name, site.silent))
        for site in sites
    )


def read_probes(
    client: Client, about: Cluster, sites: Sequence[Site], asking: Mapping[str, Asking]
) -> dict[str, Probed | str]:
    """What the nodes' probes came to, or by node why there is nothing."""

    def command(pod: NodePod) -> Sequence[str]:
        return "quiltctl", "node", "probe", *asking[pod.node].arguments(), "--output=json"

    def probed(answer: bytes) -> Probed:
        return msgspec.json.decode(answer, type=Probed)

    pods = [pod for pod in _pods(about, sites) if pod.node in asking]
    results: dict[str, Probed | str] = {site.name: site.silent for site in sites if site.silent}
    found, silent = ask(client, pods, command, probed)
    return results | silent | found


def _pods(about: Cluster, sites: Iterable[Site]) -> list[NodePod]:
    """The mesh's pods on these nodes."""
    wanted = {(site.namespace, site.pod) for site in sites if site.pod}
    own = (
        pod
        for pod in about.pods
        if (text(pod, "metadata", "namespace"), text(pod, "metadata", "name")) in wanted
    )
    return [node_pod(pod) for pod in own]

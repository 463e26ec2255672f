"""Who is meant by SRC and DST: pods, nodes, addresses, and Services by their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.objects import Raw, at, text
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.trace.kernel import Address
from quilt_cli.core.trace.site import End, Site, interface_of
from quilt_crds.names import NODE_COMPONENT, RELEASING
from quilt_crds.wire import QuiltSubnet
from quilt_policy.verdicts import World


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was read: the mesh's objects, what policies depend on, the rest as JSON."""

    mesh: Snapshot
    world: World = field(default_factory=World)
    enforced: bool = False
    pods: Sequence[Raw] = ()
    services: Sequence[Raw] = ()
    slices: Sequence[Raw] = ()

    def site(self, node: str, version: int) -> Site:
        """A node by its name, without its kernel; CannotTellError where it has no subnet."""
        subnet = self._subnet(node, version)
        if subnet is None:
            raise CannotTellError(f"node {node} has no IPv{version} subnet\n    → quiltctl status")
        pods = self.mesh.pods or ()
        agent = next((pod for pod in pods if (pod.node, pod.component) == (node, NODE_COMPONENT)), None)
        return Site(
            node,
            subnet.cidr,
            subnet.mesh.host_ip,
            agent.namespace if agent else self.mesh.release_namespace,
            agent.name if agent else "",
            silent="" if agent else f"no quilt-mesh pod is on {node}",
        )

    def _subnet(self, node: str, version: int) -> QuiltSubnet | None:
        """The subnet that a node uses: while it moves to another one, that which it serves."""
        held = [one for one in self._subnets(version) if one.node == node]
        member = next((one for one in self.mesh.mesh_nodes if one.name == node), None)
        served = member.status.served_subnets if member else ()
        return next((one for one in held if one.cidr in served), held[0] if held else None)

    def _subnets(self, version: int) -> Iterator[QuiltSubnet]:
        for one in self.mesh.subnets:
            if one.mesh.phase != RELEASING and ip_network(one.cidr).version == version:
                yield one

    def holder(self, address: Address) -> QuiltSubnet | None:
        """The subnet that an address is in."""
        return next((s for s in self._subnets(address.version) if address in ip_network(s.cidr)), None)


def resolve(cluster: Cluster, named: str, version: int) -> End:
    """Who is meant by a name or an address; of a name the address of that IP version. CannotTellError."""
    try:
        return _by_address(cluster, ip_address(named))
    except ValueError:
        pass
    if "/" not in named and any(node.name == named for node in cluster.mesh.mesh_nodes):
        return End(named, cluster.site(named, version).vtep, named)
    namespace, _, name = named.rpartition("/")
    wanted = (namespace or "default", name)
    for pod in cluster.pods:
        if (text(pod, "metadata", "namespace"), text(pod, "metadata", "name")) == wanted:
            return _of_pod(cluster, pod, version)
    raise CannotTellError(
        f"there is no node {named} and no pod {'/'.join(wanted)}\n    → name pods as namespace/name"
    )


def _of_pod(cluster: Cluster, pod: Raw, version: int) -> End:
    name = f"{text(pod, 'metadata', 'namespace')}/{text(pod, 'metadata', 'name')}"
    node = text(pod, "spec", "nodeName")
    if at(pod, "spec", "hostNetwork"):
        return End(name, cluster.site(node, version).vtep, node)
    own = _addresses(pod)
    wanted = next((one for one in own if one.version == version), None)
    first = next((one for one in own if one.version == 4), None)
    if wanted is None or first is None or text(pod, "status", "phase") not in ("Running", "Pending"):
        raise CannotTellError(f"pod {name} has no IPv{version} address\n    → kubectl get pod -o wide")
    return End(name, wanted, node, is_pod=True, interface=interface_of(str(first)))


def _addresses(pod: Raw) -> list[Address]:
    held = [text(item, "ip") for item in at(pod, "status", "podIPs") or ()]
    return [ip_address(one) for one in held or [text(pod, "status", "podIP")] if one]


def _by_address(cluster: Cluster, address: Address) -> End:
    for pod in cluster.pods:
        live = text(pod, "status", "phase") in ("Running", "Pending")
        if live and not at(pod, "spec", "hostNetwork") and address in _addresses(pod):
            return _of_pod(cluster, pod, address.version)
    for member in cluster.mesh.mesh_nodes:
        site = (
            cluster.site(member.name, address.version)
            if cluster._subnet(member.name, address.version)
            else None
        )
        if str(address) == member.status.host_ip and site is not None:
            return End(member.name, site.vtep, member.name)
        if site is not None and str(address) in (str(site.vtep), site.gateway.partition("/")[0]):
            return End(member.name, address, member.name)
    subnet = cluster.holder(address)
    if subnet is None:
        raise CannotTellError(f"{address} is no address of the mesh, its nodes or its Services")
    raise CannotTellError(
        f"{address} is in the subnet of {subnet.node}, and no pod has it\n    → kubectl get pods -A -o wide"
    )


def service_of(cluster: Cluster, named: str) -> Raw | None:
    """The Service that has an address; None where no Service has it."""
    for service in cluster.services:
        if named in (at(service, "spec", "clusterIPs") or [text(service, "spec", "clusterIP")]):
            return service
    return None


def endpoints(cluster: Cluster, service: Raw, version: int) -> Iterator[tuple[str, Sequence[Raw]]]:
    """Ready addresses behind a Service, each with the ports of its slice."""
    own = (text(service, "metadata", "namespace"), text(service, "metadata", "name"))
    for one in cluster.slices:
        of = text(one, "metadata", "labels", "kubernetes.io/service-name")
        fits = text(one, "addressType") == f"IPv{version}"
        if not fits or (text(one, "metadata", "namespace"), of) != own:
            continue
        for endpoint in one.get("endpoints") or ():
            if at(endpoint, "conditions", "ready") is not False:
                for address in endpoint.get("addresses") or ():
                    yield str(address), one.get("ports") or ()


def port_behind(service: Raw, ports: Iterable[Raw], port: int, protocol: str) -> int:
    """The port that a Service's port is translated to; 0 where it has no such port."""
    for own in at(service, "spec", "ports") or ():
        if own.get("port") == port and str(own.get("protocol", "TCP")).lower() == protocol:
            found = next((one for one in ports if (one.get("name") or "") == (own.get("name") or "")), {})
            return int(found.get("port") or 0)
    return 0

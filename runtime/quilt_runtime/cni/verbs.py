"""What each CNI verb does on this node.

Order is the guarantee: an address is recorded before its interface is made and freed only after the interface
is gone, so whatever instant the process dies at, no address is in use twice; DEL and GC clear the rest away.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_netlink import Kernel, Link, MulticastKernel, NetlinkError
from quilt_runtime.addresses import RECOVERED
from quilt_runtime.app import Runtime
from quilt_runtime.core import cni
from quilt_runtime.core.cni import CniError, Config, Document
from quilt_runtime.core.errors import ExhaustedError, NoSubnetError, RequestError
from quilt_runtime.core.ipam import Allocation, Owner, veth_address
from quilt_runtime.core.pod import PodSpec
from quilt_runtime.kernel import pods
from quilt_runtime.state import StateError


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin; `descriptors` are the pod's namespace and a netlink socket made inside it."""

    verb: str
    environment: Mapping[str, str]
    config: str
    descriptors: tuple[int, ...] = field(default=())


def execute(runtime: Runtime, request: Request) -> Document | None:
    """Do one verb and return what the specification wants printed; raises CniError."""
    if request.verb == "VERSION":
        return {"cniVersion": cni.VERSIONS[-1], "supportedVersions": list(cni.VERSIONS)}
    verb = _VERBS.get(request.verb)
    if verb is None:
        raise CniError(cni.INVALID_ENVIRONMENT, f"CNI_COMMAND {request.verb[:32]!r} is not known")
    config = cni.parse_config(request.config, request.environment)
    try:
        return verb(runtime, request, config)
    except pods.Ipv6OffError as error:
        raise CniError(cni.IO_FAILURE, str(error), needs=cni.NEEDS_IPV6) from error
    except (RequestError, StateError) as error:
        raise CniError(_code(error), str(error)) from error
    except NetlinkError as error:
        raise CniError(cni.IO_FAILURE, f"the kernel refused it: {error}") from error


def add(runtime: Runtime, request: Request, config: Config) -> Document:
    """Give the pod an address and an interface."""
    owner = cni.parse_owner(request.environment)
    runtime.network.policies.announcements.wait(owner, cni.pod_name(request.environment))
    with runtime.addresses.connecting(owner):
        return _connect(runtime, request, config, owner)


def _connect(runtime: Runtime, request: Request, config: Config, owner: Owner) -> Document:
    netns, inside = _descriptors(request)
    pod_name = cni.pod_name(request.environment)
    allocation, new = runtime.addresses.allocate(owner, config.name, config.addresses, pod_name)
    runtime.network.feed.connected(allocation)
    try:
        runtime.network.policies.admit(allocation)
        spec = _spec(runtime, allocation, config)
        with (
            runtime.network.working_on(spec.host_interface),
            MulticastKernel.open() as host,
            _kernel(inside) as pod,
        ):
            bridge = _bridge(runtime, host)
            runtime.network.guard.admit(spec.port)
            runtime.network.policies.settle()
            defaults = pods.connect(host, pod, netns, bridge, spec)
            if alias := cni.pod_alias(request.environment):
                host.set_alias(spec.host_interface, alias)
    except BaseException:
        if new:
            runtime.network.guard.dismiss(allocation.host_interface)
            runtime.addresses.release_gone(owner)
            runtime.network.policies.dismiss(allocation)
            runtime.network.feed.disconnected(allocation)
        raise
    log.info("pod_connected", container=owner.container_id, address=str(spec.address))
    sandbox = request.environment.get("CNI_NETNS", "")
    return cni.result(config, spec, {"name": BRIDGE_DEVICE, "mac": bridge.mac}, sandbox, defaults)


def delete(runtime: Runtime, request: Request, config: Config) -> None:
    """Take interface and address away; whatever of it is gone already is no error."""
    owner = cni.parse_owner(request.environment)
    allocation = runtime.addresses.get(owner) or _recovered(runtime, config)
    if allocation is not None:
        _disconnect(runtime, allocation)


def check(runtime: Runtime, request: Request, config: Config) -> None:
    """Raise CniError where the pod's network is not as ADD made it."""
    owner = cni.parse_owner(request.environment)
    _, inside = _descriptors(request)
    allocation = runtime.addresses.get(owner)
    if allocation is None:
        raise CniError(cni.CHECK_FAILED, f"no address is recorded for {owner.container_id}/{owner.interface}")
    expected = cni.previous_addresses(config.prev_result)
    if expected and str(allocation.address) not in expected:
        raise CniError(
            cni.CHECK_FAILED, f"{allocation.address} is recorded, the result says {', '.join(expected)}"
        )
    spec = _spec(runtime, allocation, config)
    if str(spec.address6) not in expected:
        # Made before the node had IPv6: it is right without.
        spec = replace(spec, ways=spec.ways[:1])
    with Kernel.open() as host, _kernel(inside) as pod:
        found = pods.problems(host, pod, spec)
    if found:
        raise CniError(cni.CHECK_FAILED, "; ".join(found))


def status(runtime: Runtime, request: Request, config: Config) -> None:
    """Raise CniError where a pod could not be started now."""
    if runtime.addresses.subnet is None:
        raise CniError(cni.NOT_AVAILABLE, str(NoSubnetError()))
    if runtime.network.problems:
        raise CniError(cni.LIMITED_CONNECTIVITY, "; ".join(runtime.network.problems.values()))
    with Kernel.open() as host:
        if host.link(BRIDGE_DEVICE) is None:
            raise CniError(cni.LIMITED_CONNECTIVITY, f"{BRIDGE_DEVICE} is missing; it is being made again")


def collect(runtime: Runtime, request: Request, config: Config) -> None:
    """Free what no listed attachment owns, and interfaces whose address nobody holds."""
    if config.attachments is None:
        raise CniError(cni.INVALID_CONFIG, "GC needs cni.dev/valid-attachments")
    freed = [
        held
        for held in runtime.addresses.held()
        if held.network == config.name and held.owner not in config.attachments
    ]
    for allocation in freed:
        _disconnect(runtime, allocation)
    orphans = _remove_orphans(runtime)
    if freed or orphans:
        log.info("garbage_collected", addresses=len(freed), interfaces=orphans)


def _spec(runtime: Runtime, allocation: Allocation, config: Config) -> PodSpec:
    ways = runtime.addresses.ways(allocation.address)
    if len(ways) == 2 and runtime.network.config.lacks_ipv6:
        raise RequestError(runtime.network.config.lacks_ipv6, retryable=True)
    return PodSpec(
        host_interface=allocation.host_interface,
        interface=allocation.owner.interface,
        address=allocation.address,
        ways=ways,
        mtu=config.mtu or runtime.network.config.mtu,
        wished_mac=config.mac,
    )


def _bridge(runtime: Runtime, host: Kernel) -> Link:
    """Return the bridge, made again where it was deleted a moment ago."""
    if (link := host.link(BRIDGE_DEVICE)) is None:
        runtime.network.ensure(["links"])
        link = host.link(BRIDGE_DEVICE)
    if link is None:
        raise RequestError(
            f"Interface {BRIDGE_DEVICE} is missing; it is made again, try again", retryable=True
        )
    return link


def _disconnect(runtime: Runtime, allocation: Allocation) -> None:
    name = allocation.host_interface
    with runtime.network.working_on(name), Kernel.open() as host:
        pods.remove(host, name)
    runtime.network.guard.dismiss(name)
    runtime.addresses.release_gone(allocation.owner)
    runtime.network.policies.dismiss(allocation)
    runtime.network.feed.disconnected(allocation)
    log.info("pod_disconnected", container=allocation.owner.container_id, address=str(allocation.address))


def _recovered(runtime: Runtime, config: Config) -> Allocation | None:
    """The address that the container's earlier result names, if its owner was lost with the database."""
    for text in cni.previous_addresses(config.prev_result):
        with contextlib.suppress(ValueError):
            owner = runtime.addresses.holder(IPv4Address(text))
            if owner is not None and owner.container_id == RECOVERED:
                return runtime.addresses.get(owner)
    return None


def _remove_orphans(runtime: Runtime) -> int:
    removed = 0
    with Kernel.open() as host:
        for link in host.links():
            address = veth_address(link.name)
            if address is not None and link.kind == "veth" and runtime.addresses.holder(address) is None:
                removed += pods.remove(host, link.name)
    return removed


def _kernel(descriptor: int) -> Kernel:
    """Use a netlink socket without owning it: who received the descriptor closes it."""
    return Kernel(socket.socket(fileno=os.dup(descriptor)))


def _descriptors(request: Request) -> tuple[int, int]:
    if len(request.descriptors) != 2:
        raise CniError(
            cni.INVALID_ENVIRONMENT, f"{request.verb} needs the pod's network namespace (CNI_NETNS)"
        )
    return request.descriptors[0], request.descriptors[1]


def _code(error: RequestError | StateError) -> int:
    match error:
        case StateError():
            return cni.IO_FAILURE
        case ExhaustedError():
            return cni.EXHAUSTED
    return cni.TRY_AGAIN_LATER if error.retryable else cni.INVALID_CONFIG


_VERBS = {"ADD": add, "DEL": delete, "CHECK": check, "STATUS": status, "GC": collect}

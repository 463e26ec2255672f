"""What the agent tells about the mesh, and what the node has to say about itself (quilt.NodeConfig)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from quilt_proto import node_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import node_subnet6
from quilt_runtime.services.answer import Call, at_once


def configure(runtime: Runtime, request: pb.ConfigureRequest) -> None:
    """Apply the whole configuration."""
    network = runtime.network
    config, refused = network.config.merged(
        overlay_sources=request.overlay_sources,
        cluster_cidrs=request.cluster_cidrs,
        mtu=request.mtu,
        vxlan_interface=request.vxlan_interface,
        vxlan_port=request.vxlan_port,
        prefix_length=request.node_prefix_length,
        vni=request.vni,
    )
    network.configure(
        replace(
            config,
            multicast=request.multicast,
            fast_leave=request.multicast_fast_leave,
            spoof_guard=request.spoof_guard if request.HasField("spoof_guard") else True,
            policies=request.policies,
            log_denied=request.log_denied,
        )
    )
    if refused:
        raise RequestError("; ".join(refused))
    if request.subnet_v6:
        network.configure_subnet(node_subnet6(request.subnet_v6, network.config.cluster_cidrs_v6))


def change_sources(runtime: Runtime, request: pb.ChangeOverlaySourcesRequest) -> None:
    """Follow peers' hosts that come and go."""
    runtime.network.change_sources(request.add, request.remove)


def status(runtime: Runtime, request: pb.GetStatusRequest) -> pb.GetStatusResponse:
    """Tell subnet, use of addresses, what is wrong, what was repaired, and which pods get no network."""
    addresses = runtime.addresses
    refusals = [
        pb.AddRefusals(
            kind=one.kind, count=one.count, pod=f"{one.pod.namespace}/{one.pod.name}", reason=one.reason
        )
        for one in runtime.troubles.refusals()
    ]
    return pb.GetStatusResponse(
        version=own_version(),
        subnet=str(addresses.subnet or ""),
        subnet_v6=str(addresses.subnet6 or ""),
        allocated=len(addresses),
        capacity=addresses.capacity,
        problems=list(runtime.network.problems.values()),
        warnings=runtime.network.warnings,
        repairs=runtime.troubles.repairs(),
        add_refusals=refusals,
    )


@cache
def own_version() -> str:
    """Return the installed distribution's version, or "0" where the code runs without being installed."""
    from importlib import metadata  # needs 20 ms, which the start need not wait for

    try:
        return metadata.version("quilt-mesh")
    except metadata.PackageNotFoundError:
        return "0"


CALLS = {
    "Configure": Call(configure),
    "ChangeOverlaySources": Call(change_sources),
    "GetStatus": Call(status, at_once),
}

"""What the agent tells about the mesh, and what the node has to say about itself (quilt.NodeConfig)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from quilt_proto import node_pb2 as pb
from quilt_proto import node_pb2_grpc as rpc
from quilt_runtime.app import Runtime
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import node_subnet6
from quilt_runtime.services.answer import answer


class NodeConfigService(rpc.NodeConfigServicer):
    """Serves the node's configuration and status."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def Configure(self, request: pb.ConfigureRequest, context: object) -> pb.ConfigureResponse:  # noqa: N802
        """Apply the whole configuration."""

        def work() -> None:
            network = self._runtime.network
            config, refused = network.config.merged(
                cluster_cidrs=request.cluster_cidrs,
                mtu=request.mtu,
                vxlan_interface=request.vxlan_interface,
                vxlan_port=request.vxlan_port,
                overlay_sources=request.overlay_sources,
                prefix_length=request.node_prefix_length,
                vni=request.vni,
            )
            network.configure(
                config.with_multicast(request.multicast, request.multicast_fast_leave).with_spoof_guard(
                    request.spoof_guard if request.HasField("spoof_guard") else True
                )
            )
            if refused:
                raise RequestError("; ".join(refused))
            if request.subnet_v6:
                cidrs = network.config.cluster_cidrs_v6
                network.configure_subnet6(node_subnet6(request.subnet_v6, cidrs))

        return await self._done("Configure", work)

    async def ChangeOverlaySources(  # noqa: N802
        self, request: pb.ChangeOverlaySourcesRequest, context: object
    ) -> pb.ConfigureResponse:
        """Follow peers' hosts that come and go."""

        def work() -> None:
            self._runtime.network.change_sources(request.add, request.remove)

        return await self._done("ChangeOverlaySources", work)

    async def _done(self, call: str, work: Callable[[], None]) -> pb.ConfigureResponse:
        done = await answer(self._runtime.metrics, call, work)
        return pb.ConfigureResponse(success=done.success, error=done.error)

    async def GetStatus(self, request: pb.GetStatusRequest, context: object) -> pb.GetStatusResponse:  # noqa: N802
        """Tell subnet, use of addresses and what is wrong."""
        addresses = self._runtime.addresses
        return pb.GetStatusResponse(
            version=own_version(),
            subnet=str(addresses.subnet or ""),
            subnet_v6=str(addresses.subnet6 or ""),
            allocated=len(addresses),
            capacity=addresses.capacity,
            problems=list(self._runtime.network.problems.values()),
            warnings=self._runtime.network.guard.warnings,
        )


@cache
def own_version() -> str:
    """Return the installed distribution's version, or "0" where the code runs without being installed."""
    from importlib.metadata import (
        PackageNotFoundError,
        version,
    )  # needs 20 ms, which the start need not wait for

    try:
        return version("quilt-mesh")
    except PackageNotFoundError:
        return "0"

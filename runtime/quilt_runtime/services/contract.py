"""The three RPCs that third parties build against (quilt.QuiltRuntime): exact texts, never a gRPC error."""

from __future__ import annotations

import structlog

from quilt_crds.names import INJECTED_PROTOCOL, MESH_PROTOCOL
from quilt_proto import runtime_pb2 as pb
from quilt_proto import runtime_pb2_grpc as rpc
from quilt_runtime.app import Runtime
from quilt_runtime.core import routes
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import node_subnet
from quilt_runtime.core.routes import OURS, Asked, Outcome, Terms
from quilt_runtime.services.answer import answer

log = structlog.get_logger()

INJECTING = Terms(INJECTED_PROTOCOL, removable=OURS, keep=frozenset({MESH_PROTOCOL}), careful=True)
"""A route of the mesh that already leads there is as good as an injected one; either may be removed."""


class QuiltRuntimeService(rpc.QuiltRuntimeServicer):
    """Serves the contract."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ConfigureNodeSubnet(  # noqa: N802 - gRPC's name
        self, request: pb.ConfigureNodeSubnetRequest, context: object
    ) -> pb.ConfigureNodeSubnetResponse:
        """Give the node its pod subnet."""
        done = await answer(
            self._runtime.metrics,
            "ConfigureNodeSubnet",
            lambda: configure_subnet(self._runtime, request.subnet),
            short=self._runtime.network.is_configured_as(request.subnet),
        )
        return pb.ConfigureNodeSubnetResponse(success=done.success, error=done.error)

    async def InjectRoute(self, request: pb.InjectRouteRequest, context: object) -> pb.InjectRouteResponse:  # noqa: N802
        """Add or replace one route."""
        done = await answer(
            self._runtime.metrics,
            "InjectRoute",
            lambda: inject(self._runtime, request.destination, request.via_interface),
            short=not self._runtime.routes.busy,
        )
        return pb.InjectRouteResponse(success=done.success, error=done.error)

    async def RemoveRoute(self, request: pb.RemoveRouteRequest, context: object) -> pb.RemoveRouteResponse:  # noqa: N802
        """Remove one route."""
        done = await answer(
            self._runtime.metrics,
            "RemoveRoute",
            lambda: remove(self._runtime, request.destination),
            short=not self._runtime.routes.busy,
        )
        return pb.RemoveRouteResponse(success=done.success, error=done.error)


def configure_subnet(runtime: Runtime, text: str) -> None:
    """Check and apply a node subnet."""
    if runtime.network.is_configured_as(text):
        return
    config = runtime.network.config
    runtime.network.configure_subnet(node_subnet(text, config.cluster_cidrs_v4, config.prefix_length))


def inject(runtime: Runtime, destination: str, via_interface: str) -> None:
    """Add a route; over a VXLAN device the gateway is the destination's network address: its VTEP's."""
    network = routes.contract_destination(destination)
    link = runtime.routes.interface(routes.interface_name(via_interface))
    gateway = network.partition("/")[0] if link.kind == "vxlan" else ""
    asked = Asked(network, gateway, link.name)
    if _settle(runtime, runtime.routes.apply([asked], [], INJECTING)):
        log.info("route_injected", destination=asked.destination, interface=link.name)


def remove(runtime: Runtime, destination: str) -> None:
    """Remove a route of the mesh."""
    network = routes.contract_destination(destination)
    if _settle(runtime, runtime.routes.apply([], [network], INJECTING)):
        log.info("route_removed", destination=network)


def _settle(runtime: Runtime, outcomes: list[Outcome]) -> bool:
    """Return whether the one item changed anything; raises RequestError where it was refused."""
    (outcome,) = outcomes
    if outcome.error:
        runtime.metrics.route_failures.inc()
        raise RequestError(outcome.error, retryable=outcome.retryable)
    runtime.metrics.route_changes.inc(outcome.changed)
    return outcome.changed

"""The three RPCs that third parties build against (quilt.QuiltRuntime): exact texts, never a gRPC error."""

from __future__ import annotations

from quilt_crds.names import INJECTED_PROTOCOL, MESH_PROTOCOL
from quilt_log import log
from quilt_proto import runtime_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.core import routes
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import node_subnet, parse_network4
from quilt_runtime.core.routes import OURS, Asked, Outcome, Terms
from quilt_runtime.services.answer import Call

INJECTING = Terms(INJECTED_PROTOCOL, removable=OURS, keep=frozenset({MESH_PROTOCOL}), by_vteps=True)
"""A route of the mesh that already leads there is as good as an injected one; either may be removed."""


def configure_subnet(runtime: Runtime, request: pb.ConfigureNodeSubnetRequest) -> None:
    """Give the node its pod subnet."""
    network = runtime.network
    if not network.is_configured_as(request.subnet):
        config = network.config
        subnet = node_subnet(request.subnet, config.cluster_cidrs_v4, config.prefix_length)
        network.configure_subnet(subnet)


def inject(runtime: Runtime, request: pb.InjectRouteRequest) -> None:
    """Add or replace one route."""
    network = routes.destination(request.destination, parse_network4)
    interface = routes.interface_name(request.via_interface)
    if _settle(runtime, runtime.routes.apply([Asked(network, "", interface)], [], INJECTING)):
        log.info("route_injected", destination=network, interface=interface)


def remove(runtime: Runtime, request: pb.RemoveRouteRequest) -> None:
    """Remove one route of the mesh."""
    network = routes.destination(request.destination, parse_network4)
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


def _configured_as(runtime: Runtime, request: pb.ConfigureNodeSubnetRequest) -> bool:
    return runtime.network.is_configured_as(request.subnet)


def _is_free(runtime: Runtime, request: object) -> bool:
    return not runtime.routes.busy


CALLS = {
    "ConfigureNodeSubnet": Call(configure_subnet, _configured_as),
    "InjectRoute": Call(inject, _is_free),
    "RemoveRoute": Call(remove, _is_free),
}

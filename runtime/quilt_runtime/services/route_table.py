"""Routes in bulk for the agent (quilt.RouteTable): one kernel batch, a result per item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc
import structlog

from quilt_proto import node_pb2 as pb
from quilt_proto import node_pb2_grpc as rpc
from quilt_runtime.app import Runtime
from quilt_runtime.core import requests
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import PROTOCOL_MESH
from quilt_runtime.kernel.routes import Asked, Outcome, Terms
from quilt_runtime.services.answer import answer

log = structlog.get_logger()

MESH = Terms(PROTOCOL_MESH, removable=frozenset({PROTOCOL_MESH}))
"""Injected routes are taken over where they stand in the way, and never swept."""


FEW = 8
"""Routes that are written sooner than a thread is woken."""


class RouteTableService(rpc.RouteTableServicer):
    """Serves the mesh's routes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ApplyRoutes(self, request: pb.ApplyRoutesRequest, context: object) -> pb.ApplyRoutesResponse:  # noqa: N802
        """Add or replace, then remove."""
        items = len(request.add) + len(request.remove)
        done = await answer(
            self._runtime.metrics,
            "ApplyRoutes",
            lambda: apply(self._runtime, request.add, request.remove),
            short=items <= FEW and not self._runtime.routes.busy,
        )
        outcomes = done.value or [Outcome(done.error, retryable=True)] * items
        if request.failures_only and not any(outcome.error for outcome in outcomes):
            return pb.ApplyRoutesResponse()
        destinations = [*(route.destination for route in request.add), *request.remove]
        return pb.ApplyRoutesResponse(
            results=[
                pb.RouteResult(
                    destination=destination,
                    success=not outcome.error,
                    error=outcome.error,
                    retryable=outcome.retryable,
                )
                for destination, outcome in zip(destinations, outcomes, strict=True)
                if outcome.error or not request.failures_only
            ]
        )

    async def ListRoutes(  # noqa: N802
        self,
        request: pb.ListRoutesRequest,
        context: grpc.aio.ServicerContext[pb.ListRoutesRequest, pb.ListRoutesResponse],
    ) -> pb.ListRoutesResponse:
        """Tell the mesh's routes as the kernel holds them."""
        done = await answer(self._runtime.metrics, "ListRoutes", self._runtime.routes.held)
        if done.value is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, done.error)
            return pb.ListRoutesResponse()
        return pb.ListRoutesResponse(
            routes=[
                pb.Route(destination=route.destination, gateway=route.gateway, interface=route.interface)
                for route in done.value
            ]
        )


def apply(runtime: Runtime, adds: Iterable[pb.Route], removes: Iterable[str]) -> list[Outcome]:
    """Check every item, apply those that pass, and return one outcome per item."""
    outcomes: dict[int, Outcome] = {}
    checked: dict[int, Asked] = {}
    gone: dict[int, str] = {}
    index = -1
    for index, route in enumerate(adds):
        try:
            checked[index] = _asked(route)
        except RequestError as error:
            outcomes[index] = Outcome(str(error))
    for position, destination in enumerate(removes, index + 1):
        try:
            gone[position] = _destination(destination)
        except RequestError as error:
            outcomes[position] = Outcome(str(error))
    done = runtime.routes.apply(list(checked.values()), list(gone.values()), MESH)
    outcomes |= dict(zip([*checked, *gone], done, strict=True))
    ordered = [outcomes[item] for item in range(len(outcomes))]
    _account(runtime, ordered)
    return ordered


def _asked(route: pb.Route) -> Asked:
    destination = _destination(route.destination)
    gateway = requests.gateway(route.gateway, 6 if ":" in destination else 4)
    return Asked(destination, gateway, requests.interface_name(route.interface))


def _destination(text: str) -> str:
    fast = requests.canonical4(text)
    return fast or str(requests.route_destination(requests.parse_network("Destination", text)))


def _account(runtime: Runtime, outcomes: Sequence[Outcome]) -> None:
    refused = [outcome.error for outcome in outcomes if outcome.error]
    changed = sum(outcome.changed for outcome in outcomes)
    runtime.metrics.route_changes.inc(changed)
    runtime.metrics.route_failures.inc(len(refused))
    if changed or refused:
        reason = refused[0] if refused else ""
        log.info("routes_applied", asked=len(outcomes), changed=changed, refused=len(refused), reason=reason)

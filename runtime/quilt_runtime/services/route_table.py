"""Routes in bulk for the agent (quilt.RouteTable): one kernel batch, a result per item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, ParamSpec, TypeVar

from quilt_crds.names import MESH_PROTOCOL
from quilt_log import log
from quilt_proto import node_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.core import routes
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import Asked, Outcome, Terms
from quilt_runtime.services.answer import Call

T = TypeVar("T")
P = ParamSpec("P")

MESH = Terms(MESH_PROTOCOL, removable=frozenset({MESH_PROTOCOL}))
"""Injected routes are taken over where they stand in the way, and never swept."""


FEW = 8
"""Routes that are written sooner than a thread is woken."""


def apply(runtime: Runtime, request: pb.ApplyRoutesRequest) -> pb.ApplyRoutesResponse:
    """Add or replace, then remove: check every item, apply those that pass, and answer each."""
    adds = [_checked(_asked, route.destination, route.gateway, route.interface) for route in request.add]
    for group in request.groups:
        adds += _checked_group(group)
    removes, refuse, no_longer = (
        [_checked(routes.destination, text) for text in texts]
        for texts in (request.remove, request.unreachable, request.no_longer_unreachable)
    )
    outcomes = _carry_out([adds, removes], partial(runtime.routes.apply, terms=MESH))
    outcomes += _carry_out([refuse, no_longer], runtime.routes.refuse)
    _account(runtime, outcomes)
    return _response(request, outcomes)


def held(runtime: Runtime, request: pb.ListRoutesRequest) -> pb.ListRoutesResponse:
    """Tell the mesh's routes as the kernel holds them."""
    return pb.ListRoutesResponse(routes=[pb.Route(**route._asdict()) for route in runtime.routes.held()])


def _failed(request: pb.ApplyRoutesRequest, text: str) -> pb.ApplyRoutesResponse:
    return _response(request, [Outcome(text, retryable=True)] * _items(request))


def _items(request: pb.ApplyRoutesRequest) -> int:
    grouped = sum(len(group.destinations) for group in request.groups)
    refused = len(request.unreachable) + len(request.no_longer_unreachable)
    return len(request.add) + grouped + len(request.remove) + refused


def _response(request: pb.ApplyRoutesRequest, outcomes: list[Outcome]) -> pb.ApplyRoutesResponse:
    if request.failures_only and not any(outcome.error for outcome in outcomes):
        return pb.ApplyRoutesResponse()
    destinations = chain(
        (route.destination for route in request.add),
        *(group.destinations for group in request.groups),
        request.remove,
        request.unreachable,
        request.no_longer_unreachable,
    )
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


def _carry_out(parts: Sequence[list[Any]], act: Callable[..., list[Outcome]]) -> list[Outcome]:
    """Do what passed its check; an outcome for each item, that of the check for what did not."""
    done = iter(act(*([item for item in part if not isinstance(item, Outcome)] for part in parts)))
    return [item if isinstance(item, Outcome) else next(done) for item in chain(*parts)]


def _checked_group(group: pb.RouteGroup) -> list[Asked | Outcome]:
    """Check a group at once where it is as regular as the agent's, else item by item."""
    destinations, gateways, interface = list(group.destinations), list(group.gateways), group.interface
    if len(gateways) != len(destinations):
        if gateways:
            text = f"A group of {len(destinations)} destinations has {len(gateways)} gateways"
            return [Outcome(f"{text}; give one for each, or none")] * len(destinations)
        gateways = [""] * len(destinations)
    elif all(map(routes.canonical4, destinations)) and routes.all_canonical4(gateways):
        interface_of_all = _checked(routes.interface_name, interface)
        if isinstance(interface_of_all, str):
            return list(map(Asked, destinations, gateways, repeat(interface_of_all)))
    return [_checked(_asked, *item) for item in zip(destinations, gateways, repeat(interface))]


def _checked(check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Outcome:
    try:
        return check(*args, **kwargs)
    except RequestError as error:
        return Outcome(str(error))


def _asked(destination: str, gateway: str, interface: str) -> Asked:
    destination = routes.destination(destination)
    gateway = routes.gateway(gateway, 6 if ":" in destination else 4)
    return Asked(destination, gateway, routes.interface_name(interface))


def _account(runtime: Runtime, outcomes: Sequence[Outcome]) -> None:
    refused = [outcome.error for outcome in outcomes if outcome.error]
    changed = sum(outcome.changed for outcome in outcomes)
    runtime.metrics.route_changes.inc(changed)
    runtime.metrics.route_failures.inc(len(refused))
    if changed or refused:
        reason = refused[0] if refused else ""
        log.info("routes_applied", asked=len(outcomes), changed=changed, refused=len(refused), reason=reason)


def _is_short(runtime: Runtime, request: pb.ApplyRoutesRequest) -> bool:
    return _items(request) <= FEW and not runtime.routes.busy


CALLS = {"ApplyRoutes": Call(apply, _is_short, _failed), "ListRoutes": Call(held)}

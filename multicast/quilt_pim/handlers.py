"""What each command of the control socket does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from math import inf
from typing import Any

from quilt_multicast.view import RouteInfo
from quilt_pim import interfaces
from quilt_pim.core import requests as ask
from quilt_pim.core.config import provider
from quilt_pim.core.events import RouteType
from quilt_pim.core.neighbors import DEFAULT_PRIORITY, External, Neighbor
from quilt_pim.core.routes import Route
from quilt_pim.core.validate import ControlError
from quilt_pim.plane import ControlPlane
from quilt_pim.subscriptions import Session

Reply = dict[str, Any]


class Handlers:
    """Answers commands over one control plane; ControlError becomes the reply's `error`."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._now: dict[str, Callable[[Any], Reply]] = {
            "AddExternalNeighbor": self._add_neighbor,
            "RemoveExternalNeighbor": self._remove_neighbor,
            "ListExternalNeighbors": self._list_external,
            "ClearExternalNeighbors": self._clear_neighbors,
            "GetPimNeighbors": self._list_neighbors,
            "EnablePim": self._enable_pim,
            "DisablePim": self._disable_pim,
            "SetRpfProvider": self._set_provider,
            "GetRpfProvider": lambda _request: self._plane.rpf.wire(),
            "AddRpfRoute": self._add_route,
            "RemoveRpfRoute": self._remove_route,
            "ListRpfRoutes": self._list_routes,
            "ClearRpfRoutes": self._clear_routes,
            "WithdrawSource": self._withdraw,
            "GetMsdpSaCache": self._list_sources,
            "GetIgmpGroups": lambda _request: {"groups": [asdict(g) for g in self._plane.state.groups()]},
            "GetMroute": self._mroute,
            "GetConfig": self._config,
        }

    async def answer(self, name: str, request: ask.Request, session: Session) -> Reply:
        """The data of the reply to a command with these fields."""
        if isinstance(request, ask.QueryRpf):
            return await self._query(request)
        if isinstance(request, ask.AnnounceSource):
            return await self._announce(request)
        if isinstance(request, ask.Subscribe):
            return session.subscribe(request.types()).wire()
        if isinstance(request, ask.Unsubscribe):
            session.unsubscribe(request.subscription_id)
            return {"subscription_id": request.subscription_id}
        if name == "ListSubscriptions":
            return {"subscriptions": [held.wire() for held in session.list()]}
        return self._now[name](request)

    def _add_neighbor(self, request: ask.AddExternalNeighbor) -> Reply:
        if not self._plane.config.external_neighbors_enabled:
            raise ControlError("External neighbors are off on this node (external_neighbors_enabled=false)")
        given = request.neighbor
        interfaces.multicast(given.interface)
        external = External(_priority(given.dr_priority), given.tag or "")
        self._plane.publish(*self._plane.neighbors.add(given.interface, given.address, external))
        held = self._plane.neighbors.get(given.interface, given.address)
        assert held is not None
        return {"neighbor": self._neighbors([held])[0]}

    def _remove_neighbor(self, request: ask.RemoveExternalNeighbor) -> Reply:
        self._plane.publish(*self._plane.neighbors.remove(request.interface, request.address))
        return {"address": request.address, "interface": request.interface}

    def _list_external(self, _request: ask.Request) -> Reply:
        return {"neighbors": self._neighbors(n for n in self._plane.neighbors if n.external is not None)}

    def _clear_neighbors(self, request: ask.ClearExternalNeighbors) -> Reply:
        removed, events = self._plane.neighbors.clear(request.interface)
        self._plane.publish(*events)
        return {"removed": removed}

    def _list_neighbors(self, _request: ask.Request) -> Reply:
        held = list(self._plane.neighbors)
        names = sorted({n.interface for n in held} | set(self._plane.speakers.names()))
        return {
            "neighbors": self._neighbors(held),
            "interfaces": [self._interface(name) for name in names],
        }

    def _enable_pim(self, request: ask.EnablePim) -> Reply:
        name, priority = request.interface, _priority(request.dr_priority)
        self._plane.speakers.enable(name, time.monotonic(), priority, passive=request.passive)
        self._plane.deadlines_changed()
        return self._interface(name)

    def _disable_pim(self, request: ask.DisablePim) -> Reply:
        name = request.interface
        self._plane.speakers.disable(name)
        self._plane.publish(*self._plane.neighbors.forget_hellos(name))
        self._plane.publish(*self._plane.routes.drop_interface(name))
        return {"interface": name}

    def _set_provider(self, request: ask.SetRpfProvider) -> Reply:
        self._plane.rpf.choose(provider(request.provider))
        self._plane.rpf_changed()
        return {"provider": self._plane.rpf.provider}

    async def _query(self, request: ask.QueryRpf) -> Reply:
        source = request.address()
        found = await self._plane.rpf.lookup(source)
        return {
            "source": source,
            "provider": self._plane.rpf.provider,
            "rpf": asdict(found.info) if found.info else None,
            "reason": found.reason or None,
            "cached": found.cached,
        }

    def _add_route(self, request: ask.AddRpfRoute) -> Reply:
        source, info = request.prefix(), request.info()
        self._plane.rpf.static.add(source, info)
        self._plane.rpf_changed()
        return {"source": str(source), "rpf": asdict(info)}

    def _remove_route(self, request: ask.RemoveRpfRoute) -> Reply:
        source = request.prefix()
        removed = self._plane.rpf.static.remove(source, request.interface)
        self._plane.rpf_changed()
        return {"source": str(source), "removed": removed}

    def _list_routes(self, _request: ask.Request) -> Reply:
        held = self._plane.rpf.static
        return {"routes": [{"source": str(source), "rpf": asdict(info)} for source, info in held]}

    def _clear_routes(self, _request: ask.Request) -> Reply:
        removed = self._plane.rpf.static.clear()
        self._plane.rpf_changed()
        return {"removed": removed}

    async def _announce(self, request: ask.AnnounceSource) -> Reply:
        item = request.announcement()
        # The message's origin is checked as MSDP does (RFC 3618 §10.1): it must come from towards its RP.
        verdict = await self._plane.rpf.arrives(item.rp, request.interface)
        if not verdict.passed:
            self._plane.counters["sources_refused"] += 1
            raise ControlError(f"Source {item.source} of {item.group} fails the RPF check: {verdict.reason}")
        change = self._plane.sources.announce(item, request.holdtime, time.monotonic())
        self._plane.publish(change)
        self._plane.deadlines_changed()
        return {**asdict(item), "action": change.action, "holdtime": request.holdtime}

    def _withdraw(self, request: ask.Announced) -> Reply:
        change = self._plane.sources.withdraw(request.announcement())
        self._plane.publish(change)
        return {"source": change.source, "group": change.group, "rp": change.rp, "action": change.action}

    def _list_sources(self, _request: ask.Request) -> Reply:
        now = time.monotonic()
        held = self._plane.sources
        return {"sources": [{**asdict(a), "expires_in_secs": round(until - now)} for a, until in held]}

    def _mroute(self, _request: ask.Request) -> Reply:
        made = [_route(route, "SG", "mesh") for route in self._plane.state.routes()]
        return {"routes": [*made, *map(_joined, self._plane.routes)]}

    def _config(self, _request: ask.Request) -> Reply:
        plane = self._plane
        return {
            "config": {
                **asdict(plane.config),
                "rpf_provider": plane.rpf.provider,
                "pim_interfaces": plane.speakers.names(),
            },
            "counters": {**plane.counters, **plane.state.counters()},
        }

    def _interface(self, name: str) -> Reply:
        speaker = self._plane.speakers.get(name)
        return {
            "interface": name,
            "pim": speaker is not None and speaker.socket is not None,
            "passive": speaker.passive if speaker else None,
            "dr_priority": speaker.priority if speaker else None,
            "designated_router": self._plane.designated(name),
        }

    def _neighbors(self, chosen: Iterable[Neighbor]) -> list[Reply]:
        held = list(chosen)
        # Once an interface: the mesh's may have thousands of neighbors.
        elected = {name: self._plane.designated(name) for name in {n.interface for n in held}}
        return [self._neighbor(n, is_dr=elected[n.interface] == n.address) for n in held]

    @staticmethod
    def _neighbor(held: Neighbor, *, is_dr: bool) -> Reply:
        left = held.expires - time.monotonic() if held.hello else inf
        return {
            "address": held.address,
            "interface": held.interface,
            "dr_priority": held.dr_priority,
            "tag": held.external.tag if held.external else None,
            "source": held.source.wire(),
            "is_dr": is_dr,
            "expires_in_secs": None if left == inf else max(0, round(left)),
            "generation_id": held.hello.generation_id if held.hello else None,
        }


def _priority(given: int | None) -> int:
    return DEFAULT_PRIORITY if given is None else given


def _route(route: RouteInfo, kind: RouteType, origin: str) -> Reply:
    return {**asdict(route), "route_type": kind, "origin": origin}


def _joined(held: Route) -> Reply:
    upstream = held.upstream.upstream_interface if held.upstream else None
    route = RouteInfo(held.key.group, held.key.source, upstream, held.interfaces)
    return _route(route, held.key.route_type, "pim")

"""The control plane as a part of the agent: fed from claims and from the dataplane, and never its end.

Whatever happens here, a socket's path taken or a mistake in this program, is logged and tried again: pods'
traffic does not depend on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry

from quilt_crds.names import BRIDGE_DEVICE, UP
from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_multicast.core.mesh import Mesh
from quilt_multicast.core.state import Flow, Forward
from quilt_multicast.engine import Observer
from quilt_pim.core.config import ControlConfig
from quilt_pim.core.events import IgmpMembershipChange, PimRouteChange, RouteAction
from quilt_pim.core.rpf import mesh_route
from quilt_pim.plane import ControlPlane
from quilt_pim.server import serve

# Seconds in which claims are collected: what is published is always the whole mesh.
_COALESCE = 0.1


class ControlService:
    """Serves the control plane for ever; `plane.state` is set once the dataplane exists.

    Peers become neighbors while `wanted()`: there may be thousands, and nobody pays for them who has no
    multicast. What RPF queries are answered costs nothing until one is asked.
    """

    def __init__(
        self,
        config: ControlConfig,
        mesh: Mesh,
        registry: CollectorRegistry,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.plane = ControlPlane(config, device=mesh.device, upstream=partial(mesh_route, mesh))
        self.observer = Publisher(self.plane)
        self._mesh = mesh
        self._wanted = wanted
        self._wake = asyncio.Event()
        registry.register(self.plane.collector)

    def changed(self) -> None:
        """Tell that claims changed."""
        self._wake.set()

    async def run(self) -> None:
        """Serve and follow the mesh, for ever; without a path of its own only follow."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            if self.plane.config.control_sock:
                group.create_task(self._serve())

    async def _serve(self) -> None:
        backoff, logged = Backoff(0.5, 30.0), ""
        while True:
            try:
                await serve(self.plane)
            except OSError as error:
                if str(error) != logged:
                    logged = str(error)
                    log.warning("control_not_serving", error=logged)
            except Exception:
                log.exception("control_failed")
            await asyncio.sleep(backoff.delay())

    async def _follow(self) -> None:
        mesh = self._mesh
        while True:
            await self._wake.wait()
            await asyncio.sleep(_COALESCE)
            self._wake.clear()
            claims = mesh.claims() if mesh.complete and self._wanted() else ()
            up = [claim for claim in claims if claim.phase == UP and claim.host_ip]
            others = [(claim.node, claim.vtep) for claim in up if claim.node != mesh.own_node]
            self.plane.set_mesh(others, mesh.device)


class Publisher(Observer):
    """Tells subscribers of the dataplane's changes.

    A router knows of members by interface, not by pod: the first member on the bridge is a Join, the last one
    to go a Leave. A dataplane that starts again reports its members again, which is no news.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._joined: set[str] = set()

    def member(self, group: str, joined: bool) -> None:
        """The bridge has members of a group now, or none is left."""
        if joined != (group in self._joined):
            self._joined ^= {group}
            self._plane.publish(IgmpMembershipChange(BRIDGE_DEVICE, group, "Join" if joined else "Leave"))

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        """An entry of the routing table was made, changed or removed."""
        source, group = flow
        action: RouteAction = "Add" if old is None else "Update" if new else "Remove"
        if old != new:
            self._plane.publish(PimRouteChange("SG", group, source, action))

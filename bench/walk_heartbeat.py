"""The files that a node's silence passes, from its Lease's last renewal to the withdrawal of its route.

A real API server and operator; agents are played. The operator notes which of our files it enters in two
spans of time: from an agent's last renewal until it has long arrived, and from shortly before the time-out
to the watch event of `mesh.phase: Down` on the node's QuiltSubnet. That is the look which finds the silence,
the fresh reading of the Leases that confirms it, and the write. Several nodes fall silent one after the
other, and a file counts when it was entered for each of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import aclosing, suppress
from pathlib import Path

from bench.control_plane import agents, joins
from bench.control_plane import plane as planes
from bench.control_plane.plane import Operator, Plane
from bench.control_plane.wire import MERGE, Json, Wire
from bench.walked import PROGRAM, Notes, Steps, common
from quilt_crds.names import DOWN, QUILTSUBNET

NODES, SILENT = 12, 8
INTERVAL, TIMEOUT = 2.0, 4.0
VALUES = (f"interval={INTERVAL:g}s", f"timeout={TIMEOUT:g}s", "source=Agent")
ARRIVED = 0.3
"""Seconds after which a renewal has arrived, and before the time-out at which noting begins."""
PATIENCE = 30.0


def walk(folder: Path) -> list[tuple[str, str]]:
    """Return (process, file) in the order of entering; the operator leaves its notes in `folder`."""
    plain, Operator.program = Operator.program, PROGRAM
    values = [f"network.heartbeat.{value}" for value in VALUES]
    try:
        with planes.plane("walk", *values) as plane, plane.alone(), planes.operator(plane) as operator:
            notes = Notes(folder, {"operator": operator.process.pid})
            renewed, withdrawn = asyncio.run(_walks(plane, notes))
    finally:
        Operator.program = plain
    return list(dict.fromkeys(common(renewed) + common(withdrawn)))


async def _walks(plane: Plane, notes: Notes) -> tuple[list[Steps], list[Steps]]:
    wire = plane.wire()
    await joins.hosts(plane, NODES)
    await wire.all((call for number in range(1, NODES + 1) for call in agents.join_calls(number)), 1)
    silent: set[int] = set()
    renewing = asyncio.create_task(_renew(wire, silent))
    walks = []
    try:
        for number in range(1, SILENT + 1):
            # Time for the node before to be Up again, of a length that matches nothing periodic.
            await asyncio.sleep(INTERVAL + random.uniform(1, 3))
            silent.add(number)
            walks.append(await _fall_silent(wire, notes, number))
            silent.discard(number)
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
    return [renewed for renewed, _ in walks], [withdrawn for _, withdrawn in walks]


async def _renew(wire: Wire, silent: set[int]) -> None:
    while True:
        for number in set(range(1, NODES + 1)) - silent:
            await _renew_one(wire, number)
        await asyncio.sleep(INTERVAL / 2)


async def _renew_one(wire: Wire, number: int) -> None:
    renewed = {"spec": {"renewTime": agents.micro()}}
    await wire.ok("PATCH", f"{agents.leases()}/{agents.name(number)}", renewed, MERGE)


async def _fall_silent(wire: Wire, notes: Notes, number: int) -> tuple[Steps, Steps]:
    """Renew a node's Lease for the last time; return what was entered for that, and for its withdrawal."""
    notes.begin()
    await _renew_one(wire, number)
    last = time.perf_counter()
    await asyncio.sleep(ARRIVED)
    renewed = notes.end(until=last + ARRIVED)
    await asyncio.sleep(last + TIMEOUT - ARRIVED - time.perf_counter())
    notes.begin()
    async with asyncio.timeout(PATIENCE):
        down = await _withdrawn(wire, agents.name(number))
    return renewed, notes.end(until=down)


async def _withdrawn(wire: Wire, node: str) -> float:
    """Wait until a node's QuiltSubnet is Down; return when that was received."""
    while True:
        # A watch that the API server ends is opened again; it begins with what there is.
        async with aclosing(wire.watch(f"{QUILTSUBNET.path()}?watch=true", lambda: None)) as lines:
            async for line in lines:
                received, claim = time.perf_counter(), json.loads(line).get("object", {})
                if _is_down(claim, node):
                    return received


def _is_down(claim: Json, node: str) -> bool:
    served, phase = claim.get("spec", {}).get("node"), claim.get("mesh", {}).get("phase")
    return bool(served == node and phase == DOWN)

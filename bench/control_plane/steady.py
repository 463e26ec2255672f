"""Heartbeats of many nodes: what they cost, that the operator writes nothing, and how soon it is back."""

from __future__ import annotations

import asyncio
import json
import time

from bench import usage
from bench.control_plane.agents import lease, leases, name
from bench.control_plane.plane import Operator, Plane
from bench.control_plane.shares import Shares, memory_lines
from bench.control_plane.targets import Targets
from bench.result import Line
from quilt_crds.names import QUILTNODE, QUILTSUBNET

INTERVAL = 10.0
_CONNECTIONS = 32


class Renewing:
    """Renews every node's Lease each interval, evenly spread, as agents do (PUT with a resourceVersion)."""

    def __init__(self, plane: Plane, count: int) -> None:
        self._wire, self._count = plane.crowd(_CONNECTIONS), count
        self._versions: dict[str, str] = {}
        self._gate = asyncio.Semaphore(_CONNECTIONS)
        self.done = 0
        """Renewals that the API server took."""

    async def run(self, seconds: float) -> None:
        """Renew for so long."""
        items = json.loads(await self._wire.ok("GET", leases()))["items"]
        self._versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for turn in range(int(seconds * self._count / INTERVAL)):
                due = begin + turn * INTERVAL / self._count
                if (wait := due - time.monotonic()) > 0.01:
                    await asyncio.sleep(wait)
                group.create_task(self._renew(turn % self._count + 1))

    async def _renew(self, number: int) -> None:
        async with self._gate:
            node = name(number)
            path = f"{leases()}/{node}"
            status, answer = await self._wire.request("PUT", path, lease(number, self._versions[node]))
            if status == 200:
                self._versions[node] = json.loads(answer)["metadata"]["resourceVersion"]
                self.done += 1


async def heartbeats(
    plane: Plane, operator: Operator, count: int, seconds: float, wanted: Targets
) -> list[Line]:
    """What the operator uses while every node renews its Lease each 10 s, and what all others do."""
    renewing = Renewing(plane, count)
    task = asyncio.create_task(renewing.run(seconds + 20))
    await asyncio.sleep(15)
    shares, writes, done, begin = Shares(plane, operator), operator.writes(), renewing.done, time.monotonic()
    await asyncio.sleep(seconds)
    share = shares.percent()["the operator"]
    others = shares.lines("at these heartbeats", but=("the operator",))
    rate = (renewing.done - done) / (time.monotonic() - begin)
    written = operator.writes() - writes
    used = usage.resident(operator.process.pid)
    silent = operator.metric("quilt_operator_silent_nodes")
    await task
    return [
        Line(what=f"operator at {count} heartbeats each 10 s", value=share, unit="% of a core",
             target=wanted.operator_percent, note=f"{rate:,.0f} renewals a second came"),
        *others,
        Line(what=f"operator's memory with {count} nodes", value=used, unit="MB", target=wanted.operator_mb),
        *memory_lines(plane, count),
        Line(what=f"API writes in {seconds:g} s without a change", value=written, unit="", target=0,
             note=f"{silent:g} nodes silent"),
    ]  # fmt: skip


async def documents(plane: Plane, count: int) -> list[Line]:
    """How large the lists of all objects are, as JSON."""
    wire = plane.wire(1)
    paths = {"QuiltNodes": QUILTNODE.path(), "QuiltSubnets": QUILTSUBNET.path(), "Leases": leases()}
    sizes = {kind: 1e-6 * len(await wire.ok("GET", path)) for kind, path in paths.items()}
    note = ", ".join(f"{kind} {size:.1f}" for kind, size in sizes.items())
    return [Line(what=f"objects of {count} nodes, as JSON", value=sum(sizes.values()), unit="MB", note=note)]


async def restart(operator: Operator, count: int, target: float | None) -> list[Line]:
    """SIGKILL and start: until it has read everything and is ready."""
    operator.kill()
    operator.start()
    taken = await asyncio.to_thread(operator.wait)
    return [Line(what=f"restart with {count} nodes to ready", value=taken, unit="s", target=target)]

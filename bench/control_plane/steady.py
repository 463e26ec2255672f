"""Heartbeats of many nodes: what the operator uses, that it writes nothing, and how soon it is back."""

from __future__ import annotations

import asyncio
import json
import time

from bench import usage
from bench.control_plane import agents
from bench.control_plane.agents import lease, leases, name
from bench.control_plane.plane import Operator, Plane
from bench.result import Line

INTERVAL = 10.0


async def renew(plane: Plane, count: int, seconds: float) -> None:
    """Renew every node's Lease each interval, evenly spread, as agents do (PUT with a resourceVersion)."""
    wire = plane.crowd(32)
    path = leases()
    items = json.loads(await wire.ok("GET", path))["items"]
    versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
    begin = time.monotonic()
    gate = asyncio.Semaphore(32)

    async def one(number: int) -> None:
        async with gate:
            node = name(number)
            status, answer = await wire.request("PUT", f"{path}/{node}", lease(number, versions[node]))
            if status == 200:
                versions[node] = json.loads(answer)["metadata"]["resourceVersion"]

    async with asyncio.TaskGroup() as group:
        for turn in range(int(seconds * count / INTERVAL)):
            due = begin + turn * INTERVAL / count
            if (wait := due - time.monotonic()) > 0.01:
                await asyncio.sleep(wait)
            group.create_task(one(turn % count + 1))


async def heartbeats(plane: Plane, operator: Operator, count: int, seconds: float) -> list[Line]:
    """What the operator uses while every node renews its Lease each 10 s."""
    renewing = asyncio.create_task(renew(plane, count, seconds + 20))
    await asyncio.sleep(15)
    writes, used, begin = operator.writes(), usage.processor(operator.process.pid), time.monotonic()
    await asyncio.sleep(seconds)
    share = 100 * (usage.processor(operator.process.pid) - used) / (time.monotonic() - begin)
    written = operator.writes() - writes
    memory = usage.resident(operator.process.pid)
    silent = operator.metric("quilt_operator_silent_nodes")
    await renewing
    return [
        Line(what=f"operator at {count} heartbeats each 10 s", value=share, unit="% of a core", target=5),
        Line(what=f"operator's memory with {count} nodes", value=memory, unit="MB", target=200),
        Line(what=f"API writes in {seconds:g} s without a change", value=written, unit="", target=0,
             note=f"{silent:g} nodes silent"),
    ]  # fmt: skip


async def restart(operator: Operator, count: int) -> list[Line]:
    """SIGKILL and start: until it has read everything and is ready."""
    operator.kill()
    operator.start()
    taken = await asyncio.to_thread(operator.wait)
    return [Line(what=f"restart with {count} nodes to ready", value=taken, unit="s", target=15)]


__all__ = ["agents", "heartbeats", "restart"]

"""The peer: kube-controller-manager's node IPAM at its defaults, the same Nodes, from POST to podCIDR."""

from __future__ import annotations

import asyncio
import json
import time

from bench.control_plane.agents import host_calls, name
from bench.control_plane.joins import AT_ONCE
from bench.control_plane.plane import Plane
from bench.result import Line, median, percentile


async def node_ipam(plane: Plane, count: int) -> list[Line]:
    """Nodes at once: seconds until the last has a podCIDR, and each one's wait."""
    wire = plane.wire(AT_ONCE + 2)
    ready = asyncio.Event()
    assigned: dict[str, float] = {}
    begun: dict[str, float] = {}

    async def follow() -> None:
        async for line in wire.watch("/api/v1/nodes?watch=true", ready.set):
            node = json.loads(line)["object"]
            if node["spec"].get("podCIDR"):
                assigned.setdefault(node["metadata"]["name"], time.monotonic())

    following = asyncio.create_task(follow())
    await ready.wait()
    waiting = iter(range(1, count + 1))

    async def work() -> None:
        for number in waiting:
            begun[name(number)] = time.monotonic()
            for call in host_calls([number]):
                await wire.ok(*call)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    async with asyncio.timeout(600):
        while not begun.keys() <= assigned.keys():  # noqa: ASYNC110 - counts what a watch fills
            await asyncio.sleep(0.05)
    following.cancel()
    waits = [1000 * (assigned[node] - begun[node]) for node in begun]
    taken = max(assigned.values()) - begin
    return [
        Line(what=f"kube-controller-manager's node IPAM, {count} nodes at once", value=taken, unit="s",
             p50=median(waits), p99=percentile(waits, 99)),
    ]  # fmt: skip

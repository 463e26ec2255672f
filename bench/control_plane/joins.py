"""Many nodes join: all at once with watchers, at a steady rate, and what the operator then writes at rest."""

from __future__ import annotations

import asyncio
import time

from bench.control_plane import agents
from bench.control_plane.agents import Published, Watchers, join_calls, name, operator_calls
from bench.control_plane.plane import Operator, Plane
from bench.control_plane.shares import Shares
from bench.control_plane.wire import Wire
from bench.result import Line, median, percentile

AT_ONCE = 64
# Nothing written for this long means that nothing is left to write.
_QUIET = 5.0


async def join(wire: Wire, numbers: range) -> tuple[dict[str, float], float]:
    """Let nodes join as fast as the API server accepts it; when each began, and the seconds of all writes."""
    waiting = iter(numbers)
    begun: dict[str, float] = {}

    async def work() -> None:
        for number in waiting:
            begun[name(number)] = time.monotonic()
            for call in join_calls(number):
                await wire.ok(*call)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return begun, time.monotonic() - begin


async def alone(wire: Wire, numbers: range) -> tuple[float, float]:
    """Seconds of the agents' writes alone, and of the agents' and an operator's, without an operator."""
    _, agents_only = await join(wire, numbers)
    begin = time.monotonic()
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            for call in operator_calls(number):
                await wire.ok(*call)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return agents_only, agents_only + time.monotonic() - begin


async def at_once(
    plane: Plane, operator: Operator, count: int, watchers: int, target: float | None
) -> list[Line]:
    """All nodes at once: seconds to the last claim, who used the processors, writes per node."""
    wire = plane.crowd(AT_ONCE + 4)
    numbers = range(1, count + 1)
    crowd = Watchers(plane, watchers)
    crowd.start()
    published = Published(plane.wire(4))
    await published.start()
    before, begin, shares = operator.writes(), time.monotonic(), Shares(plane, operator)
    used = time.process_time()
    _, writing = await join(wire, numbers)
    used = time.process_time() - used
    await published.wait(count, 180)
    meanwhile = shares.lines("meanwhile")
    taken = max(published.at.values()) - begin
    published.stop()
    crowd.stop()
    settled = await _settle(operator) - begin
    writes = (operator.writes() - before) / count
    note = f"agents' own writes beside it took {writing:.1f} s ({used:.1f} s of a core)"
    return [
        Line(what=f"{count} nodes at once, {watchers} watchers: last claim published", value=taken, unit="s",
             target=target, note=note),
        *meanwhile,
        Line(what="… last status written, for people", value=settled, unit="s"),
        Line(what="API writes of the operator per node", value=writes, unit="", target=2.05,
             note="a claim and a status; the agents' own three are a QuiltNode, a status and a Lease"),
    ]  # fmt: skip


async def same_writes(plane: Plane, count: int, watchers: int) -> tuple[float, float]:
    wire = plane.crowd(AT_ONCE + 4)
    crowd = Watchers(plane, watchers)
    crowd.start()
    try:
        return await alone(wire, range(1, count + 1))
    finally:
        crowd.stop()


async def at_a_rate(plane: Plane, rate: float, first: int, count: int) -> list[Line]:
    """Nodes one after the other at a rate: from the request that creates the QuiltNode to the claim seen."""
    wire = plane.crowd(AT_ONCE)
    published = Published(plane.wire(4))
    await published.start()
    begun: dict[str, float] = {}

    async def one(number: int) -> None:
        begun[name(number)] = time.monotonic()
        for call in join_calls(number):
            await wire.ok(*call)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(first, first + count):
            await asyncio.sleep(max(0.0, begin + (number - first) / rate - time.monotonic()))
            group.create_task(one(number))
    wanted = {name(number) for number in range(first, first + count)}
    async with asyncio.timeout(60):
        while not wanted <= published.at.keys():  # noqa: ASYNC110 - the watch tells of all, we want some
            await asyncio.sleep(0.05)
    published.stop()
    waits = [1000 * (published.at[one] - begun[one]) for one in wanted]
    p99 = percentile(waits, 99)
    return [
        Line(what=f"QuiltNode to published claim at {rate:g}/s, p99", value=p99, unit="ms", target=150,
             p50=median(waits), p99=p99),
    ]  # fmt: skip


async def _settle(operator: Operator) -> float:
    """Wait until the operator has nothing more to write; when it last wrote."""
    writes, last = -1.0, time.monotonic()
    while time.monotonic() < last + _QUIET:
        if (now := operator.writes()) != writes:
            writes, last = now, time.monotonic()
        await asyncio.sleep(0.25)
    return last


async def hosts(plane: Plane, count: int) -> None:
    """Make the Nodes; they are there before."""
    await plane.wire().all(agents.host_calls(range(1, count + 1)), AT_ONCE)

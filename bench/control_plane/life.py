"""Nodes that die, alone, together and seemingly all; clocks that jump; an API server that disappears.

Every step says what must hold and fails the run when it does not. Most nodes are objects and renewed Leases;
some are real agents and runtimes, each with a kernel's network of its own, whose routes are looked at. With
the default times this is the mesh as installed; shorter ones show the same in less time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import click

from bench.control_plane.agents import host_calls, join_calls, lease, leases, name
from bench.control_plane.plane import Operator, Plane, plane
from bench.control_plane.proxy import Faults, Proxy
from bench.control_plane.real import RealNode
from bench.control_plane.wire import MERGE
from bench.result import Line, Result, machine
from quilt_crds.names import KUBELET_LEASE_NAMESPACE, LEASE_NAMESPACE, QUILTNETWORK, QUILTSUBNET
from quilt_crds.times import rfc3339_micro

NODES = 100
# The last ones of them; none of these dies, they look at the others.
REAL = range(98, 101)
# The operator judges each second and a withdrawal is confirmed by a list.
_SLACK = 3.0
# From a published change to the kernels of all agents.
_SPREAD = 2.0
_BOTH = (LEASE_NAMESPACE, KUBELET_LEASE_NAMESPACE)


class Life:
    """A hundred nodes and what the API server says about them."""

    def __init__(
        self,
        plane: Plane,
        operator: Operator,
        proxy: Proxy,
        reals: list[RealNode],
        interval: float,
        timeout: float,
    ) -> None:
        self.plane, self.operator, self.proxy, self.reals = plane, operator, proxy, reals
        self.interval, self.timeout = interval, timeout
        self.wire = plane.wire(32)
        self.alive = {*range(1, NODES + 1)}
        self.clock: dict[int, timedelta] = {}
        self.down_at: dict[str, float] = {}
        self.phase: dict[str, str] = {}
        self.cidr: dict[str, str] = {}
        self.failed: list[str] = []
        self.expected = 0
        self.lines: list[Line] = []

    def expect(self, holds: bool, what: str) -> None:
        click.echo(f"{'ok' if holds else 'FAILED'}: {what}")
        self.expected += 1
        if not holds:
            self.failed.append(what)

    async def join(self) -> None:
        simulated = sorted(self.alive - {*REAL})
        await self.wire.all(host_calls(simulated), 8)
        for number in simulated:
            for call in join_calls(number):
                await self.wire.ok(*call)
        for number in sorted(self.alive):
            await self.wire.ok("POST", leases(KUBELET_LEASE_NAMESPACE), lease(number))
        for real in self.reals:
            for call in real.calls():
                await self.wire.ok(*call)
            await asyncio.to_thread(real.start)

    async def renew(self) -> None:
        """Renew both Leases of every living node each interval, evenly spread."""
        begin, turn = time.monotonic(), 0
        while True:
            number = turn % NODES + 1
            if number in self.alive:
                moment = datetime.now(UTC) + self.clock.get(number, timedelta())
                body = {"spec": {"renewTime": rfc3339_micro(moment)}}
                for namespace in (KUBELET_LEASE_NAMESPACE,) if number in REAL else _BOTH:
                    try:
                        await self.wire.request("PATCH", f"{leases(namespace)}/{name(number)}", body, MERGE)
                    except (OSError, asyncio.IncompleteReadError):
                        continue
            turn += 1
            late = time.monotonic() - begin - turn * self.interval / NODES
            # What an outage delayed is not made up for.
            begin += late if late > self.interval / 2 else 0.0
            await asyncio.sleep(max(0.0, -late))

    async def follow(self) -> None:
        """What agents see: phases of claims, and when each became Down."""
        while True:
            try:
                for claim in json.loads(await self.wire.ok("GET", QUILTSUBNET.path()))["items"]:
                    self.cidr[claim["spec"]["node"]] = claim["spec"]["cidr"]
                    self._see(claim["spec"]["node"], claim["mesh"]["phase"])
            except (OSError, RuntimeError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.25)

    def _see(self, node: str, phase: str) -> None:
        if phase == "Down" and self.phase.get(node) == "Up":
            self.down_at[node] = time.monotonic()
        self.phase[node] = phase

    def down(self) -> set[str]:
        return {node for node, phase in self.phase.items() if phase == "Down"}

    def astray(self) -> dict[str, set[str]]:
        """Subnets that real agents route to but should not, or should but do not."""
        wanted = {self.cidr[node] for node, phase in self.phase.items() if phase == "Up"}
        found = {real.name: real.routes() ^ (wanted - {self.cidr.get(real.name)}) for real in self.reals}
        return {name: wrong for name, wrong in found.items() if wrong}

    async def routed(self, what: str) -> None:
        """Expect that every real agent routes to exactly the nodes that are Up."""
        begin = time.monotonic()
        right = await self.until(lambda: not self.astray(), _SPREAD)
        took = time.monotonic() - begin
        self.expect(right, f"{what} on all {len(self.reals)} agents, {took:.1f} s after it was published")
        where = f"… {what} in {len(self.reals)} agents' kernels, once that was seen"
        self.lines.append(Line(what=where, value=took, unit="s", target=_SPREAD))
        if not right:
            click.echo(f"astray: { {name: sorted(wrong)[:5] for name, wrong in self.astray().items()} }")

    async def until(self, holds: Callable[[], bool], within: float) -> bool:
        deadline = time.monotonic() + within
        while not holds() and time.monotonic() < deadline:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.1)
        return holds()

    async def paused(self) -> str:
        """The reason for which withdrawal is paused, if it is."""
        network = json.loads(await self.wire.ok("GET", QUILTNETWORK.path("default")))
        found = (network.get("status") or {}).get("conditions") or []
        return next(
            (c["reason"] for c in found if c["type"] == "WithdrawalPaused" and c["status"] == "True"), ""
        )

    async def pauses(self, reason: str, within: float) -> bool:
        deadline = time.monotonic() + within
        while (found := await self.paused()) != reason and time.monotonic() < deadline:  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(0.2)
        return found == reason

    async def has_event(self, reason: str) -> bool:
        """Whether an Event says so."""
        path = "/apis/events.k8s.io/v1/namespaces/default/events"
        for _ in range(50):
            if any(e["reason"] == reason for e in json.loads(await self.wire.ok("GET", path))["items"]):
                return True
            await asyncio.sleep(0.2)
        return False

    async def die(self, numbers: Iterable[int]) -> None:
        """Nodes die together; how long each was still published."""
        dying = {*numbers}
        began = time.monotonic()
        self.alive -= dying
        wanted = {name(number) for number in dying}
        in_time = await self.until(lambda: wanted <= self.down(), self.timeout + 2 * _SLACK)
        waits = [self.down_at[node] - began for node in wanted & self.down_at.keys()]
        low, high = self.timeout - self.interval - 0.5, self.timeout + _SLACK
        first, last = min(waits, default=0.0), max(waits, default=0.0)
        self.expect(
            in_time and low <= first and last <= high,
            f"{len(dying)} of {NODES} die: Down after {first:.1f} to {last:.1f} s ({low:.0f} to {high:.0f})",
        )
        self.lines.append(Line(what=f"{len(dying)} of {NODES} die: the last is Down", value=last, unit="s",
                               target=high, note=f"the first after {first:.1f} s"))  # fmt: skip
        await self.routed("withdrawn")
        self.expect(self.down() == {name(n) for n in range(1, NODES + 1) if n not in self.alive}, "no others")

    async def everyone(self) -> None:
        self.alive = {*range(1, NODES + 1)}
        # A node that was down twice is held down for 10 s.
        back = await self.until(lambda: not self.down(), 2 * self.interval + 15)
        self.expect(back, "all come back")
        await self.routed("routed again")

    async def stays_up(self, seconds: float, what: str) -> None:
        begin = len(self.down_at)
        await asyncio.sleep(seconds)
        self.expect(not self.down() and len(self.down_at) == begin, what)
        self.expect(not self.astray(), "every agent routes to all nodes")


async def run(life: Life, outage: float) -> None:
    """All steps, one after the other."""
    await life.join()
    background = [asyncio.create_task(life.renew()), asyncio.create_task(life.follow())]
    full = life.timeout + _SLACK
    try:
        everyone = await life.until(lambda: [*life.phase.values()].count("Up") == NODES, 60)
        life.expect(everyone, f"{NODES} nodes are Up, {len(REAL)} of them real")
        await life.routed("routed")
        await asyncio.sleep(life.interval)
        life.clock = {50: timedelta(hours=1), 51: timedelta(hours=-1)}
        await life.stays_up(full, "clocks an hour ahead and behind: their nodes stay Up")
        await life.die([7])
        await life.die(range(11, 21))
        await life.everyone()
        life.alive -= {*range(1, 61)}
        life.expect(await life.pauses("TooManySilent", full + 6), "60 % vanish: the condition says so")
        await life.stays_up(full, "none of them is withdrawn")
        life.expect(await life.has_event("TooManySilent"), "an Event says so")
        life.alive = {*range(1, NODES + 1)}
        life.expect(await life.pauses("", 2 * life.interval + 8), "recovery clears it")
        cut = life.proxy.cut()
        await life.stays_up(full, f"{cut} watches cut and 410 Gone: nobody is Down")
        await asyncio.to_thread(life.plane.cluster.restart_apiserver)
        await asyncio.to_thread(life.plane.cluster.wait_api)
        await life.stays_up(full, "the API server restarts: nobody is Down")
        await lose_api(life, outage)
        await life.die([33])
    finally:
        for task in background:
            task.cancel()


async def lose_api(life: Life, outage: float) -> None:
    """The API server is away for long: the operator leaves and is started again, as a kubelet does."""
    cluster = life.plane.cluster
    await asyncio.to_thread(cluster.stop_apiserver)
    end = time.monotonic() + outage
    while time.monotonic() < end:
        if life.operator.process.poll() is not None:
            life.operator.start()
        await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.start_apiserver)
    await asyncio.to_thread(cluster.wait_api)
    if life.operator.process.poll() is not None:
        life.operator.start()
    life.expect(await life.pauses("ApiServerWasLost", 40), f"{outage:g} s without API: the condition says so")
    await life.stays_up(life.timeout + _SLACK, "nobody is withdrawn")
    life.expect(await life.has_event("ApiServerWasLost"), "an Event says so")
    life.expect(await life.pauses("", 10), "and it is cleared")


async def measure(made: Plane, interval: float, patience: float, outage: float) -> Life:
    """The run on a control plane with the chart installed."""
    proxy = Proxy(made.wire(32), Faults(), 1, lambda: None)
    proxy.calm = True
    process = Operator(made, "leader", kubeconfig=made.through("leader", await proxy.start()))
    try:
        await asyncio.to_thread(process.wait)
        with ExitStack() as stack:
            reals = [stack.enter_context(RealNode(made, name(n), n - REAL[0] + 1)) for n in REAL]
            life = Life(made, process, proxy, reals, interval, patience)
            await run(life, outage)
            return life
    finally:
        process.kill()
        await proxy.stop()


@click.command()
@click.option("--interval", default=10.0, show_default=True, help="Seconds between heartbeats.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds of silence until Down.")
@click.option("--outage", default=300.0, show_default=True, help="Seconds without an API server.")
@click.option("--save/--no-save", default=True, show_default=True)
def life(interval: float, timeout: float, outage: float, *, save: bool) -> None:
    """A hundred nodes: deaths, the guard, clock jumps, cut watches, a lost API server."""
    beat = (f"network.heartbeat.interval={interval:g}s", f"network.heartbeat.timeout={timeout:g}s")
    with plane("life", *beat) as made:
        done = asyncio.run(measure(made, interval, timeout, outage))
    if save:
        what = f"of {done.expected} expectations failed, the API server being away for {outage:g} s"
        Result(
            name="control_plane_life",
            title="A hundred nodes that die, and seem to",
            command="python -m bench.control_plane life",
            method=" ".join((__doc__ or "").split()),
            machine=machine(),
            lines=[Line(what=what, value=len(done.failed), unit="", target=0), *done.lines],
        ).save()
    raise SystemExit(bool(done.failed))

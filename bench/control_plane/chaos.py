"""Two operators that both lead, on one real API server seen through faults, while nodes come and go.

Nodes are also given another spec.subnet, granted, refused or taken back, exchange host addresses, take over
those of others, lose their QuiltNode by mistake, and are prepared before their machine exists. What must hold
at every moment: no two claims overlap, no claim that is in use disappears or is released, none is given again
within its grace period. What must hold once all is calm: every node that is there has exactly one subnet,
published under its address, and no other claim is left.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable

import click

from bench.control_plane.crowd import Crowd, Member, choose
from bench.control_plane.plane import Operator, Plane, plane
from bench.control_plane.proxy import Faults, Proxy
from bench.control_plane.truth import Truth
from bench.result import Line, Result, machine
from quilt_crds.names import QUILTSUBNET

# Fewer subnets than nodes and quarantine could ask for: the same ones are given again and again.
CIDR = "10.42.0.0/17"
ALIVE = 40
NAMES = 160
GRACE = 2.0
# The share of nodes that leave without waiting for their subnet.
HASTY = 0.25
# The share that an administrator prepares, whether the machine comes, and what happens to the others.
PREPARED = 0.1
ARRIVE = 0.5
WISHES = 0.4
SWAPS = 0.2
MISTAKES = 0.1
# What administrators wish for: few, so that wishes collide with each other and with what is handed out.
WISHED = [f"10.42.{number}.0/24" for number in range(20, 60, 2)]
# Seconds between audits: what was deleted while a watch was away is found by them, and by nothing else.
AUDIT = 15.0
_PATIENCE = 20.0
_CALM = 60.0


class Chaos:
    """One run."""

    def __init__(self, plane: Plane, seed: int, faults: Faults) -> None:
        self._plane, self._faults = plane, faults
        self._random = random.Random(seed)
        self._wire = plane.wire(ALIVE + 4)
        self._killed: asyncio.Queue[Operator] = asyncio.Queue()
        self.kills = self.done = self.served = self._printed = 0
        self.operators: list[Operator] = []
        self.truth = Truth(GRACE)
        self.crowd = Crowd(self._wire, self.truth, self._random, NAMES)

    async def run(self, cycles: int, kills: int) -> list[str]:
        """Nodes come and go at least so often, and until so many operators were killed; what was wrong."""
        # Each finds a leader's Lease of its own, so that both lead.
        proxies = [
            await self._operator(f"operator-{n}", space)
            for n, space in enumerate(("quilt-system", "default"))
        ]
        ready = asyncio.Event()
        background = [asyncio.create_task(self._follow(ready)), asyncio.create_task(self._revive())]
        try:
            await ready.wait()
            for operator in self.operators:
                await asyncio.to_thread(operator.wait)
            for proxy in proxies:
                proxy.calm = False
            await self._come_and_go(cycles, kills)
            for proxy in proxies:
                proxy.calm = True
            wrong = self.truth.faults + await self._calm()
            wrong += self.crowd.failed()
            return wrong + [f"{task} has ended" for task in background if task.done()]
        finally:
            for task in background:
                task.cancel()
            for operator in self.operators:
                operator.kill()
            for proxy in proxies:
                await proxy.stop()

    async def _operator(self, name: str, namespace: str) -> Proxy:
        index = len(self.operators)
        proxy = Proxy(self._plane.wire(64), self._faults, self._random.randrange(1 << 30),
                      lambda: self._kill(index))  # fmt: skip
        # Until all have begun: waiting for that mistakes one that was killed for one that cannot.
        proxy.calm = True
        path = self._plane.through(name, await proxy.start())
        options = (f"--namespace={namespace}", f"--audit-interval={AUDIT:g}")
        self.operators.append(Operator(self._plane, name, *options, kubeconfig=path))
        return proxy

    def _kill(self, index: int) -> None:
        operator = self.operators[index]
        # Another of its requests may have ended it just now.
        if operator.process.poll() is None:
            operator.process.kill()
            self.kills += 1
            self._killed.put_nowait(operator)

    async def _revive(self) -> None:
        while True:
            operator = await self._killed.get()
            await asyncio.to_thread(operator.process.wait)
            operator.start()

    async def _follow(self, ready: asyncio.Event) -> None:
        listed = json.loads(await self._wire.ok("GET", QUILTSUBNET.path()))
        version = listed["metadata"]["resourceVersion"]
        while True:  # An API server ends the watch of a reader that is slow: it continues from there.
            query = f"?watch=true&resourceVersion={version}"
            async for line in self._wire.watch(QUILTSUBNET.path() + query, ready.set):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the watch of claims failed: {event['object']}")
                version = event["object"]["metadata"]["resourceVersion"]
                self.truth.see(event["type"], event["object"])
                self.crowd.claim_changed(event["object"])

    async def _come_and_go(self, cycles: int, kills: int) -> None:
        """Have ALIVE nodes come and go next to each other, each under names of its own."""
        turns = itertools.takewhile(lambda turn: turn < cycles or self.kills < kills, itertools.count())
        begin = time.monotonic()

        async def slot(number: int) -> None:
            names = [f"node-{n}" for n in range(number + 1, NAMES + 1, ALIVE)]
            for _ in turns:
                await self._live(self._random.choice(names))
                if self.done % 250 == 0:
                    self._tell(time.monotonic() - begin)
            # Half of them stay, for the check in the end.
            if number % 2:
                await self.crowd.join(names[0])

        async with asyncio.TaskGroup() as group:
            for number in range(ALIVE):
                group.create_task(slot(number))

    async def _live(self, node: str) -> None:
        """One node's life: most get a subnet and use it, some leave in the midst of being served."""
        if self._random.random() < PREPARED:
            member = await self.crowd.prepare(node, choose(self._random, WISHED))
            await asyncio.sleep(self._random.expovariate(5))
            if self._random.random() < ARRIVE:
                await self.crowd.arrive(member)
                await asyncio.sleep(self._random.expovariate(5))
        else:
            member = await self.crowd.join(node)
            if self._random.random() < HASTY:
                await asyncio.sleep(self._random.uniform(0.0, 0.3))
            else:
                await self.truth.serving(node, _PATIENCE)
                self.served += self.truth.serves(node)
                await self._happen(member)
        await self.crowd.leave(member)
        self.done += 1

    async def _happen(self, member: Member) -> None:
        """What happens to a node that serves pods, in any order, some of it twice."""
        happens: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (WISHES, lambda: self.crowd.wish(member, choose(self._random, WISHED))),
            (WISHES / 2, lambda: self.crowd.wish(member, choose(self._random, WISHED))),
            (SWAPS, lambda: self.crowd.swap(member)),
            (MISTAKES, lambda: self.crowd.mistake(member)),
        ]
        self._random.shuffle(happens)
        for chance, act in happens:
            if self._random.random() < chance:
                await act()
                await asyncio.sleep(self._random.expovariate(5))

    def _tell(self, seconds: float) -> None:
        click.echo(
            f"{self.done} cycles in {seconds:.0f} s, {self.served} served, {self.kills} kills, "
            f"{dict(self._faults.drawn)}, {len(self.truth.faults)} wrong", err=True,
        )  # fmt: skip
        for text in self.truth.faults[self._printed :]:
            click.echo(text, err=True)
        self._printed = len(self.truth.faults)

    async def _calm(self) -> list[str]:
        """Wait until nothing is wrong; what is still wrong in the end."""
        wrong: list[str] = ["not looked"]
        for _ in range(int(_CALM)):
            await asyncio.sleep(1)
            wrong = self.truth.wrong(json.loads(await self._wire.ok("GET", QUILTSUBNET.path()))["items"])
            if not wrong:
                break
        return wrong


def _result(run: Chaos, faults: Faults, wrong: int) -> Result:
    drawn = ", ".join(f"{name} {count}" for name, count in sorted(faults.drawn.items()))
    what = f"claims doubled, overlapping, lost or leaked in {run.done} cycles with two leaders"
    return Result(
        name="control_plane_chaos",
        title="Two leaders, lost answers and SIGKILLs",
        command="python -m bench.control_plane chaos",
        method=" ".join((__doc__ or "").split()),
        machine=machine(),
        lines=[
            Line(what=what, value=wrong, unit="", target=0, note=f"faults drawn: {drawn}"),
            Line(what="operators killed (SIGKILL) between two requests", value=run.kills, unit=""),
            Line(
                what="wishes for a subnet, exchanged addresses, prepared nodes",
                value=run.crowd.moved,
                unit="",
                note=f"{run.crowd.swapped} exchanges, {run.crowd.prepared} prepared, "
                f"{run.crowd.mistaken} QuiltNodes deleted by mistake",
            ),
            Line(what="claims made", value=run.truth.made, unit="", note=f"at most {run.truth.most} at once"),
        ],
    )


@click.command()
@click.option("--cycles", default=5000, show_default=True, help="How often a node joins and leaves.")
@click.option("--seed", default=1, show_default=True)
@click.option("--kill", default=0.003, show_default=True, help="Chance of SIGKILL at a request.")
@click.option("--kills", default=1, show_default=True, help="Go on until so many were killed.")
@click.option("--save/--no-save", default=True, show_default=True)
def chaos(cycles: int, seed: int, kill: float, kills: int, *, save: bool) -> None:
    """Two leaders, late and doubled news, conflicts, lost answers, SIGKILL between any two requests."""
    faults = Faults(killed=kill)
    values = ("network.heartbeat.interval=100s", "network.heartbeat.timeout=1000s",
              f"network.reuseGracePeriod={GRACE:g}s", f"network.clusterCIDRs={{{CIDR}}}")  # fmt: skip
    with plane("chaos", *values) as made:
        run = Chaos(made, seed, faults)
        wrong = asyncio.run(run.run(cycles, kills))
    click.echo(
        f"{run.done} cycles, {run.served} served, {run.kills} kills, faults {dict(faults.drawn)}, "
        f"{run.crowd.moved} wishes, {run.crowd.swapped} swaps, {run.crowd.prepared} prepared, "
        f"{run.crowd.mistaken} mistakes, {run.truth.made} claims, at most {run.truth.most} at once: "
        f"{len(wrong)} wrong"
    )
    for text in wrong[:20]:
        click.echo(text)
    if save:
        _result(run, faults, len(wrong)).save()
    raise SystemExit(bool(wrong))

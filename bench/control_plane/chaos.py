"""Two operators that both lead, on one real API server seen through faults, while nodes come and go.

What must hold at every moment: no two claims overlap, and no claim that is in use disappears while its node
is there. What must hold once all is calm: every node has exactly one subnet, no other claim is left.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_network

import click

from bench.control_plane.agents import address
from bench.control_plane.plane import Operator, Plane, plane
from bench.control_plane.proxy import Faults, Proxy
from bench.control_plane.wire import JSON, Json
from quilt_crds.names import API_VERSION, QUILTNODE, QUILTSUBNET

CIDR = "10.42.0.0/18"
ALIVE = 40
NAMES = 150
GRACE = 2.0
_CALM = 60.0


@dataclass
class Watched:
    """The truth, as the API server tells it, and what was wrong in it."""

    claims: dict[str, Json] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    most: int = 0

    def see(self, kind: str, claim: Json) -> None:
        name = claim["metadata"]["name"]
        if kind != "DELETED":
            if kind == "ADDED":
                self._check_overlap(claim["spec"]["cidr"], claim["spec"]["node"])
            self.claims[name] = claim
            self.most = max(self.most, len(self.claims))
            return
        self.claims.pop(name, None)
        if claim["mesh"]["phase"] != "Releasing":
            self.faults.append(f"{name} of {claim['spec']['node']} was deleted while {claim['mesh']}")

    def _check_overlap(self, cidr: str, node: str) -> None:
        new = ip_network(cidr)
        for other in self.claims.values():
            if new.overlaps(ip_network(other["spec"]["cidr"])):
                self.faults.append(f"{cidr} for {node} while {other['spec']['node']} has it")


class Chaos:
    """One run."""

    def __init__(self, plane: Plane, seed: int, faults: Faults) -> None:
        self._plane, self._faults = plane, faults
        self._random = random.Random(seed)
        self._wire = plane.wire(32)
        self._kills: asyncio.Queue[Operator] = asyncio.Queue()
        self.kills = 0
        self.operators: list[Operator] = []
        self.watched = Watched()

    async def run(self, cycles: int) -> list[str]:
        """Nodes come and go so often; return what was wrong."""
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
            await self._come_and_go(cycles)
            for proxy in proxies:
                proxy.calm = True
            return self.watched.faults + await self._calm()
        finally:
            for task in background:
                task.cancel()
            for operator in self.operators:
                operator.kill()

    async def _operator(self, name: str, namespace: str) -> Proxy:
        index = len(self.operators)
        proxy = Proxy(self._plane.wire(32), self._faults, self._random.randrange(1 << 30),
                      lambda: self._kill(index))  # fmt: skip
        path = self._plane.through(name, await proxy.start())
        self.operators.append(Operator(self._plane, name, f"--namespace={namespace}", kubeconfig=path))
        return proxy

    def _kill(self, index: int) -> None:
        operator = self.operators[index]
        operator.process.kill()
        self.kills += 1
        self._kills.put_nowait(operator)

    async def _revive(self) -> None:
        while True:
            operator = await self._kills.get()
            await asyncio.to_thread(operator.process.wait)
            operator.start()

    async def _follow(self, ready: asyncio.Event) -> None:
        listed = json.loads(await self._wire.ok("GET", QUILTSUBNET.path()))
        query = f"?watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
        async for line in self._wire.watch(QUILTSUBNET.path() + query, ready.set):
            event = json.loads(line)
            self.watched.see(event["type"], event["object"])

    async def _come_and_go(self, cycles: int) -> None:
        done = 0
        nodes = self.watched.nodes
        while done < cycles:
            node = f"node-{self._random.randrange(1, NAMES)}"
            if node in nodes and (len(nodes) > ALIVE // 2):
                await self._wire.ok("DELETE", QUILTNODE.path(node))
                nodes.discard(node)
                done += 1
            elif node not in nodes and len(nodes) < ALIVE:
                body = {"apiVersion": API_VERSION, "kind": QUILTNODE.kind, "metadata": {"name": node},
                        "spec": {"hostIP": address(int(node[5:]))}}  # fmt: skip
                await self._wire.ok("POST", QUILTNODE.path(), body, JSON)
                nodes.add(node)
            await asyncio.sleep(self._random.expovariate(60))
            if done and done % 250 == 0 and node not in nodes:
                click.echo(f"{done} cycles, {self.kills} kills, {dict(self._faults.drawn)}", err=True)

    async def _calm(self) -> list[str]:
        """Wait until nothing is wrong; what is still wrong in the end."""
        wrong: list[str] = ["not looked"]
        for _ in range(int(_CALM)):
            await asyncio.sleep(1)
            wrong = await self._wrong()
            if not wrong:
                break
        return wrong

    async def _wrong(self) -> list[str]:
        items = json.loads(await self._wire.ok("GET", QUILTSUBNET.path()))["items"]
        owners = Counter(item["spec"]["node"] for item in items)
        cidrs = [ip_network(item["spec"]["cidr"]) for item in items]
        found = [f"{node} has {owners[node]} subnets" for node in self.watched.nodes if owners[node] != 1]
        found += [f"claim of {node} leaked" for node in owners.keys() - self.watched.nodes]
        found += [f"{a} overlaps {b}" for i, a in enumerate(cidrs) for b in cidrs[:i] if a.overlaps(b)]
        found += [f"{i['metadata']['name']} is {i['mesh']}" for i in items if i["mesh"]["phase"] != "Up"]
        return found


@click.command()
@click.option("--cycles", default=5000, show_default=True, help="How often a node comes and goes.")
@click.option("--seed", default=1, show_default=True)
@click.option("--kill", default=0.004, show_default=True, help="Chance of SIGKILL before and after a write.")
def chaos(cycles: int, seed: int, kill: float) -> None:
    """Two leaders, late and doubled news, conflicts, lost answers, SIGKILL between any two writes."""
    faults = Faults(killed=kill)
    values = ("network.heartbeat.interval=100s", "network.heartbeat.timeout=1000s",
              f"network.reuseGracePeriod={GRACE:g}s", f"network.clusterCIDRs={{{CIDR}}}")  # fmt: skip
    with plane("chaos", *values) as made:
        run = Chaos(made, seed, faults)
        wrong = asyncio.run(run.run(cycles))
    click.echo(
        f"{cycles} cycles, {run.kills} kills, faults {dict(faults.drawn)}, "
        f"at most {run.watched.most} claims: {len(wrong)} wrong"
    )
    for text in wrong[:20]:
        click.echo(text)
    raise SystemExit(bool(wrong))

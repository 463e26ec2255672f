"""What 10,000 policies among 100,000 pods cost the agent of a node that has 30 of these pods.

The agent's own code, from an API server's lists to the program that it would send the runtime: pods,
policies in pages of 500, and the QuiltPeers that it asks for. In the three shapes of the operator's
benchmark; the 30 pods are of as many namespaces as there are, up to 30. An agent without policies has
imported what it needs for all else and knows the claims of 1,000 nodes; memory is what policies add to that.
Agent and API server are processes of their own; the server answers with bytes that are ready. Where all
policies are of one namespace, the agent's chain has a rule for each.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from bench import peers
from bench.result import Line, Result, median
from bench.usage import own_processor, resident
from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_pods.metrics import PolicyMetrics
from quilt_pods.pod_watch import PodWatch

if TYPE_CHECKING:
    from bench.bench import Bench
    from quilt_proto.policy_pb2 import PolicyProgram

TITLE = "10,000 policies and 100,000 pods at an agent with 30 of them"
ROUNDS, NODES = 5, 1_000
SECONDS, MEGABYTES = 0.5, 8.0


def measure(bench: Bench) -> Result:
    # Not at an agent: the shapes' module knows the operator's code.
    from bench.cases.peersets import SHAPES

    lines = []
    for name, shape in SHAPES.items():
        bench.say(shape.what)
        command = [sys.executable, "-m", "bench.policy_lists", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                port = server.stdout.readline().strip()
                found = [_agent(port) for _ in range(bench.rounds(ROUNDS))]
            finally:
                server.kill()
        lines += _lines(shape.what, found)
    return Result(lines=lines)


def _agent(port: str) -> dict[str, float]:
    """Run an agent; what it says of itself."""
    command = [sys.executable, "-m", "bench.cases.compile", port]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _lines(what: str, found: list[dict[str, float]]) -> list[Line]:
    middle = {name: median([one[name] for one in found]) for name in found[0]}
    parts = ("policies", "chains", "rules", "sets", "addresses")
    note = ", ".join(f"{middle[part]:,.0f} {part}" for part in parts)
    return [
        Line(what=f"{what}: to the program", value=middle["seconds"], unit="s", target=SECONDS, note=note),
        Line(what=f"{what}: processor time", value=middle["processor"], unit="s"),
        Line(what=f"{what}: memory", value=middle["megabytes"], unit="MB", target=MEGABYTES),
    ]


class Runtime:
    """Stands for the runtime: keeps the first program, and has no pods to tell of."""

    def __init__(self) -> None:
        self.program: asyncio.Future[PolicyProgram] = asyncio.get_running_loop().create_future()

    async def replace(self, program: PolicyProgram) -> None:
        """Take a program."""
        if not self.program.done():
            self.program.set_result(program)

    async def change(self, change: object) -> None:
        """Take a change."""

    async def pods(self) -> AsyncIterator[Any]:
        """Tell of no pod."""
        await asyncio.Event().wait()
        yield


async def run(port: str) -> dict[str, float]:
    """Be an agent until its program is sent, and a second more, in which nothing happens."""
    import quilt_nodeagent.serve  # noqa: F401  what every agent has imported

    claims = [peers.peer(number) for number in range(1, NODES + 1)]
    runtime: Any = Runtime()
    async with Client(Access(f"http://127.0.0.1:{port}"), agent="bench") as client:
        pods, registry = PodWatch(runtime), CollectorRegistry()
        metrics = PolicyMetrics(registry)
        _as_the_agent()
        before, used, begun = resident(os.getpid()), own_processor(), time.perf_counter()
        # As the agent does once policies are wanted.
        from quilt_pods.enforcement import Enforcement

        enforcement = Enforcement(
            client, "node-0", runtime, pods, metrics,
            claims=lambda: claims, enforcing=lambda: True, reported=_nothing, named=_nothing,
        )  # fmt: skip
        task = asyncio.create_task(enforcement.run())
        program = await runtime.program
        seconds, processor = time.perf_counter() - begun, own_processor() - used
        await asyncio.sleep(1)
        megabytes = resident(os.getpid()) - before
        task.cancel()
        await asyncio.wait([task])
    return {
        "seconds": seconds,
        "processor": processor,
        "megabytes": megabytes,
        "policies": registry.get_sample_value("quilt_policy_policies") or 0.0,
        "chains": len(program.chains),
        "rules": sum(len(chain.policies.rules) for chain in program.chains),
        "sets": len(program.sets),
        "addresses": sum(len(one.v4) // 4 for one in program.sets),
    }


def _as_the_agent() -> None:
    """Collect garbage and give memory back as the agent is set to."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    ctypes.CDLL(None).mallopt(-3, 128 << 10)


def _nothing() -> None:
    pass


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1]))))

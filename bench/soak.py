"""Long runs, for what a short test cannot show: `python -m bench.soak kill|leak|mesh|full-node`.

Nothing here is a figure to beat: each ends with exit code 1 and a sentence where something was lost, doubled
or leaked.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import click
import grpc

from bench.full_node import full_node
from bench.mesh_soak import mesh
from bench.node import Node
from bench.plugins import Call, Outcome, Pods, build_plugin, call
from bench.usage import descriptors, resident
from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc

WORKERS = 16
PATIENCE_S, PAUSE_S = 60.0, 0.05
WARM_UP = 500
LEAK_MB = 2.0


class SoakError(Exception):
    """Something was lost, doubled or leaked."""


class Rig:
    """A node with a running runtime, and the plugin."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.plugin = build_plugin(node.folder)
        node.start_runtime()
        with grpc.insecure_channel(f"unix:{node.socket}") as channel:
            request = runtime_pb2.ConfigureNodeSubnetRequest(subnet="10.42.1.0/24")
            answer = runtime_pb2_grpc.QuiltRuntimeStub(channel).ConfigureNodeSubnet(request)
        if not answer.success:
            raise SoakError(answer.error)

    def call(self, verb: str, pod: str, container: str = "", **config: Any) -> Outcome:
        """One call, as a kubelet makes it; the container's id is the pod's name unless one is given."""
        socket = str(self.node.socket.with_name("cni.sock"))
        document = {"cniVersion": "1.1.0", "name": "quilt", "type": "quilt-cni", "socket": socket, **config}
        document["timeoutSeconds"] = 10
        return call(Call(str(self.plugin), verb, container or pod, f"/run/netns/{pod}", document))

    def insist(self, verb: str, pod: str, container: str = "") -> Outcome:
        """As a kubelet: try again until it succeeds, a failed ADD being deleted first."""
        deadline = time.monotonic() + PATIENCE_S
        while (outcome := self.call(verb, pod, container)).code:
            if time.monotonic() > deadline:
                raise SoakError(f"{verb} of {pod} failed for {PATIENCE_S} s, lastly: {outcome.text}")
            time.sleep(PAUSE_S)
            if verb == "ADD":
                self.call("DEL", pod, container)
        return outcome

    def held(self) -> dict[str, str]:
        """Who has which address, as the runtime says."""
        with grpc.insecure_channel(f"unix:{self.node.socket}") as channel:
            listed = node_pb2_grpc.IpamStub(channel).ListAllocations(node_pb2.ListAllocationsRequest())
        return {held.container_id: held.address for held in listed.allocations}

    def veths(self) -> int:
        """How many pods' interfaces the kernel has."""
        return sum(link.name.startswith("qv") for link in self.node.kernel.links())


@contextmanager
def rig(pods: int) -> Iterator[tuple[Rig, list[str]]]:
    if os.geteuid():
        sys.exit("This makes network namespaces: run as root.")
    with Node() as node, Pods(pods) as made:
        yield Rig(node), made.names


class Churn:
    """ADD and DEL from many workers while the runtime is killed; every second pod is left alive."""

    def __init__(self, rig: Rig, pods: list[str], operations: int, seed: int) -> None:
        self._rig = rig
        self._pods = pods
        self._cycles = operations // (2 * len(pods))
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._steps = 0
        self.holders: dict[str, str] = {}
        self.kills = 0

    def run(self) -> dict[str, str]:
        """Return the living pods' addresses."""
        with ThreadPoolExecutor(len(self._pods) + 1) as pool:
            killer = pool.submit(self._kill)
            workers = [pool.submit(self._work, pod) for pod in self._pods]
            try:
                for worker in workers:
                    worker.result()
            finally:
                self._done.set()
            killer.result()
        return {pod: address for address, pod in self.holders.items()}

    def _work(self, pod: str) -> None:
        for cycle in range(self._cycles):
            address = self._rig.insist("ADD", pod).address
            with self._lock:
                self._steps += 1
                if address in self.holders:
                    raise SoakError(f"{address} belongs to {self.holders[address]} and {pod}")
                self.holders[address] = pod
            if cycle == self._cycles - 1 and self._pods.index(pod) % 2:
                return
            with self._lock:
                del self.holders[address]
            self._rig.insist("DEL", pod)
            with self._lock:
                self._steps += 1

    def _kill(self) -> None:
        """After every so many operations, however long these take, and at any moment of the next ones."""
        node = self._rig.node
        while True:
            target = self._steps + self._chance.randrange(10, 120)
            while self._steps < target:
                if self._done.wait(0.01):
                    return
            self._done.wait(self._chance.uniform(0, 0.03))
            assert node.runtime is not None
            node.runtime.popen.kill()
            node.runtime.popen.wait()
            node.start_runtime()
            self.kills += 1


def verify(rig: Rig, alive: dict[str, str]) -> None:
    """After GC the runtime knows the living, and nobody else; so does the kernel."""
    valid = [{"containerID": pod, "ifname": "eth0"} for pod in alive]
    collected = rig.call("GC", "", "", **{"cni.dev/valid-attachments": valid})
    if collected.code:
        raise SoakError(f"GC failed: {collected.text}")
    if rig.held() != alive:
        raise SoakError(f"allocations {rig.held()} are not the living containers {alive}")
    if len(set(alive.values())) != len(alive):
        raise SoakError(f"an address is held twice: {alive}")
    if rig.veths() != len(alive):
        raise SoakError(f"{rig.veths()} interfaces for {len(alive)} containers")


@click.group()
def main() -> None:
    """Run long, under faults."""


main.add_command(mesh)
main.add_command(full_node)


@main.command()
@click.option("--operations", default=2000, show_default=True, help="ADDs and DELs in all.")
@click.option("--seed", default=1, show_default=True)
def kill(operations: int, seed: int) -> None:
    """Kill the runtime at random points of many concurrent ADDs and DELs."""
    with rig(WORKERS) as (made, pods):
        churn = Churn(made, pods, operations, seed)
        alive = churn.run()
        verify(made, alive)
    kills = f"{operations} operations, {churn.kills} kills"
    click.echo(f"{kills}: {len(alive)} containers, nothing lost or doubled")


@main.command()
@click.option("--cycles", default=10_000, show_default=True)
def leak(cycles: int) -> None:
    """ADD and DEL again and again; nothing may grow."""
    fresh = itertools.count()
    with rig(WORKERS) as (made, pods):

        def cycle(number: int) -> None:
            container = f"container-{next(fresh)}"
            made.insist("ADD", pods[number], container)
            made.insist("DEL", pods[number], container)

        def run(count: int) -> tuple[int, float]:
            with ThreadPoolExecutor(WORKERS) as pool:
                for _ in range(count // WORKERS):
                    list(pool.map(cycle, range(WORKERS)))
            runtime = made.node.runtime
            assert runtime is not None
            return descriptors(runtime.pid), resident(runtime.pid)

        files, memory = run(WARM_UP)
        files_after, memory_after = run(cycles)
        verify(made, {})
        growth = memory_after - memory
        if files_after > files or growth > LEAK_MB:
            raise SoakError(f"{files} -> {files_after} descriptors, {memory:.1f} -> {memory_after:.1f} MB")
    click.echo(f"{cycles} cycles: {files_after} descriptors, {memory:.1f} -> {memory_after:.1f} MB, all gone")


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except SoakError as error:
        sys.exit(f"soak: {error}")

"""CNI ADD and DEL as a container engine meets them: the plugin's process from start to end.

Quilt Mesh: quilt-cni with the runtime in a process of its own; the peer is `bridge` with `host-local`, which
also makes a veth pair, a bridge port with hairpin, an address and a default route. Both take turns in one
node's network, on pods of their own. Then 100 pods start at once, and all addresses are checked to differ.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.node import BenchError, Node
from bench.plugins import Call, Engine, Outcome, Pods, build_plugin
from bench.result import Line, Plot, Result, Series, distribution, median, percentile

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Starting and stopping a pod's network"
ROUNDS = 400
PODS = 100
CHURN = 10
STANDARD = "bridge + host-local"


class Plugin:
    """One of the two competitors."""

    def __init__(self, program: Path, config: dict[str, Any]) -> None:
        self._program = str(program)
        self._config = {"cniVersion": "1.0.0", **config}

    def call(self, verb: str, pod: str) -> Call:
        return Call(self._program, verb, pod, f"/run/netns/{pod}", self._config)


def measure(bench: Bench) -> Result:
    with Node() as node, Pods(PODS) as pods:
        quilt, theirs = _plugins(node)
        with Engine(node) as engine:
            samples = _take_turns(engine, quilt, theirs, pods.names[:CHURN], bench.rounds(ROUNDS))
            crowds = {
                "quilt": _crowd(engine, quilt, pods.names),
                "theirs": _crowd(engine, theirs, pods.names),
            }
    return _result(samples, crowds)


def _plugins(node: Node) -> tuple[Plugin, Plugin]:
    import grpc

    from quilt_devcluster.binaries import cni_plugin_dir
    from quilt_proto import runtime_pb2, runtime_pb2_grpc

    node.start_runtime()
    with grpc.insecure_channel(f"unix:{node.socket}") as channel:
        request = runtime_pb2.ConfigureNodeSubnetRequest(subnet="10.42.1.0/24")
        answer = runtime_pb2_grpc.QuiltRuntimeStub(channel).ConfigureNodeSubnet(request)
    if not answer.success:
        raise BenchError(answer.error)
    ipam = {"type": "host-local", "subnet": "10.43.1.0/24", "dataDir": str(node.folder / "host-local")}
    standard = {"bridge": "cni0", "isGateway": True, "hairpinMode": True, "mtu": 1450, "ipam": ipam}
    socket = str(node.socket.with_name("cni.sock"))
    return (
        Plugin(build_plugin(node.folder), {"name": "quilt", "type": "quilt-cni", "socket": socket}),
        Plugin(cni_plugin_dir() / "bridge", {"name": "standard", "type": "bridge", **standard}),
    )


Samples = dict[str, list[float]]


def _take_turns(engine: Engine, quilt: Plugin, theirs: Plugin, pods: list[str], rounds: int) -> Samples:
    """Milliseconds of each call, by competitor and verb."""
    samples: Samples = {}
    for number in range(rounds):
        order = (
            (("quilt", quilt), ("theirs", theirs)) if number % 2 else (("theirs", theirs), ("quilt", quilt))
        )
        for name, plugin in order:
            for verb in ("ADD", "DEL"):
                (done,) = engine.succeed([plugin.call(verb, pods[number % len(pods)])])
                samples.setdefault(f"{name} {verb}", []).append(done.seconds * 1000)
    return samples


def _crowd(engine: Engine, plugin: Plugin, pods: list[str]) -> tuple[float, float]:
    """All pods at once: seconds until all are there, and until all are gone."""
    start = time.perf_counter()
    added = engine.succeed([plugin.call("ADD", pod) for pod in pods], len(pods))
    there = time.perf_counter()
    _all_different(added)
    gone = time.perf_counter()
    engine.succeed([plugin.call("DEL", pod) for pod in pods], len(pods))
    return there - start, time.perf_counter() - gone


def _all_different(added: list[Outcome]) -> None:
    addresses = {outcome.address for outcome in added}
    if len(addresses) != len(added):
        raise BenchError(f"{len(added)} pods have only {len(addresses)} addresses")


def _one_by_one(what: str, sample: list[float], quilt: float, theirs: float) -> Line:
    return Line(
        what=what,
        value=quilt,
        unit="ms",
        against=STANDARD,
        other=theirs,
        p50=median(sample),
        p99=percentile(sample, 99),
        target=1.0,
        target_is_ratio=True,
    )


def _result(samples: Samples, crowds: dict[str, tuple[float, float]]) -> Result:
    lines = []
    for verb in ("ADD", "DEL"):
        quilt, theirs = samples[f"quilt {verb}"], samples[f"theirs {verb}"]
        lines.append(_one_by_one(f"{verb}, p50", quilt, median(quilt), median(theirs)))
        lines.append(_one_by_one(f"{verb}, p95", quilt, percentile(quilt, 95), percentile(theirs, 95)))
    for at, what in enumerate((f"{PODS} pods start at once", f"{PODS} pods stop at once")):
        lines.append(
            Line(
                what=what,
                value=crowds["quilt"][at],
                unit="s",
                against=STANDARD,
                other=crowds["theirs"][at],
                note="all addresses different, none lost",
            )
        )
    plots = [
        Plot(
            name=f"cni-{verb.lower()}",
            title=f"CNI {verb}",
            kind="cdf",
            x="milliseconds",
            y="share of calls",
            series=[
                Series(name=name, points=distribution(samples[f"{key} {verb}"]))
                for name, key in (("quilt-cni", "quilt"), (STANDARD, "theirs"))
            ],
        )
        for verb in ("ADD", "DEL")
    ]
    return Result(lines=lines, plots=plots)

"""Who is behind the selectors of 10,000 policies among 100,000 pods, as a new leader learns it.

The operator's own code from the JSON of lists, in pages of 500, to the content of every QuiltPeers: policies
and namespaces, then endpoints of 1,000 nodes and pods of 4 kB with a label that is their own. Three shapes:
25,000 namespaces of 4 pods, whose policies name their own pods; one namespace in which every policy admits
all; and 1,000 namespaces whose policies name an application in the namespaces of one of 100 teams. Each is a
process of its own, which has imported all that an operator has; memory is all that it holds in the end.
Making the JSON is not measured. Then one pod at a time loses or gets an address, until the names of the
QuiltPeers to write are known.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import msgspec

from bench.result import Line, Result, percentile
from bench.usage import resident
from quilt_crds.wire_policy import QuiltEndpoints
from quilt_kube.listwatch import decode_list
from quilt_operator.core.peersets import PeerSets
from quilt_policy.objects import Namespace, NetworkPolicy, Pod
from quilt_policy.selectors import wanted

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "10,000 policies and 100,000 pods in the operator"
PODS, POLICIES, NODES, PAGE = 100_000, 10_000, 1_000, 500
EVENTS = 2_000
# What a pod's JSON has besides, as from an ordinary Deployment.
FILLING = [{"name": f"SETTING_{number}", "value": "x" * 60} for number in range(35)]

Json = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """Namespaces, and what each policy admits."""

    what: str
    namespaces: int
    peer: Callable[[int], Json]


SHAPES = {
    "own": Shape(
        "25,000 namespaces of 4 pods, policies name their own",
        25_000,
        lambda number: {"podSelector": {"matchLabels": {"app": f"app-{number % 4}"}}},
    ),
    "all": Shape("one namespace, policies admit all of it", 1, lambda number: {"podSelector": {}}),
    "teams": Shape(
        "1,000 namespaces, policies name an application of a team",
        1_000,
        lambda number: {
            "namespaceSelector": {"matchLabels": {"team": f"team-{number % 100}"}},
            "podSelector": {"matchLabels": {"app": f"app-{number // 100}"}},
        },
    ),
}


def measure(bench: Bench) -> Result:
    """Measure each shape in a process of its own."""
    lines = []
    for name, shape in SHAPES.items():
        bench.say(shape.what)
        command = [sys.executable, "-m", "bench.cases.peersets", name]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        lines += [
            Line(what=f"{shape.what}: start", value=found["seconds"], unit="s", target=20,
                 note=f"{found['sets']} QuiltPeers, {found['addresses']} addresses"),
            Line(what=f"{shape.what}: start, processor time", value=found["processor"], unit="s"),
            Line(what=f"{shape.what}: memory", value=found["megabytes"], unit="MB", target=350),
            Line(what=f"{shape.what}: one address, its processor time, p99",
                 value=found["event"], unit="ms", target=1),
        ]  # fmt: skip
    return Result(lines=lines)


class Load:
    """The operator's sets, and the seconds, also of the processor, that it took to fill them."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.sets = PeerSets()
        self.seconds = self.processor = 0.0

    def fill(self) -> Json:
        """Enter everything; return what was found."""
        sets = self.sets
        for node in range(NODES):
            sets.addresses.put_claim(str(node), f"node-{node}", IPv4Network((_address(node, 0), 24)))
        self._enter(
            policies(self.shape), NetworkPolicy, lambda item: sets.put_policy(item.name, wanted([item]))
        )
        spaces = (
            {"metadata": _meta(_space(n), labels={"team": f"team-{n % 100}"})}
            for n in range(self.shape.namespaces)
        )
        self._enter(spaces, Namespace, lambda item: sets.identities.put_namespace(item.name, item.labels))
        put = sets.addresses.put_endpoints
        self._enter(
            map(self._endpoints, range(NODES)),
            QuiltEndpoints,
            lambda item: put(item.name, item.spec.endpoints),
            20,
        )
        self._enter(map(self.pod_document, range(PODS)), Pod, sets.put_pod)
        with self._counting():
            names = sets.changes()
            written = sum(sets.content(name) is not None for name in names)
        events = sorted(self._event(number) for number in range(EVENTS))
        return {
            "seconds": self.seconds,
            "processor": self.processor,
            "megabytes": resident(os.getpid()),
            "sets": written,
            "addresses": sets.measure()["addresses"],
            "event": percentile(events, 99) * 1e3,
        }

    def _enter(
        self, items: Iterable[Json], kind: Any, put: Callable[[Any], object], page: int = PAGE
    ) -> None:
        held: list[Json] = []
        for item in items:
            held.append(item)
            if len(held) == page:
                self._page(held, kind, put)
                held = []
        self._page(held, kind, put)

    def _page(self, items: list[Json], kind: Any, put: Callable[[Any], object]) -> None:
        body = msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": items})
        with self._counting():
            for item in decode_list(body, kind)[0]:
                put(item)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the time of what is done meanwhile."""
        begun, used = time.perf_counter(), time.thread_time()
        yield
        self.seconds += time.perf_counter() - begun
        self.processor += time.thread_time() - used

    def _event(self, number: int) -> float:
        """Processor seconds from what a node says, whose last pod leaves or comes, to the names to write."""
        node = number % NODES
        items = msgspec.convert(self._endpoints(node), QuiltEndpoints).spec.endpoints
        begun = time.thread_time()
        self.sets.addresses.put_endpoints(f"node-{node}", items[:-1] if number < NODES else items)
        self.sets.changes()
        return time.thread_time() - begun

    def _endpoints(self, node: int) -> Json:
        pods = [
            {"uid": _uid(pod), "namespace": self._home(pod), "name": f"pod-{pod}", "address": _text(pod)}
            for pod in range(node, PODS, NODES)
        ]
        return {"metadata": _meta(f"node-{node}"), "spec": {"node": f"node-{node}", "endpoints": pods}}

    def _home(self, pod: int) -> str:
        return _space(pod % self.shape.namespaces)

    def pod_document(self, pod: int) -> Json:
        application = pod // self.shape.namespaces % 100
        labels = {
            "app": f"app-{application}",
            "pod-template-hash": f"{application:010x}",
            "pod": f"pod-{pod}",
        }
        container = {"name": "main", "image": "example.com/app:1", "env": FILLING}
        return {
            "metadata": _meta(f"pod-{pod}", namespace=self._home(pod), uid=_uid(pod), labels=labels),
            "spec": {"nodeName": f"node-{pod % NODES}", "containers": [container]},
        }


def policies(shape: Shape) -> Iterator[Json]:
    for number in range(POLICIES):
        spec = {"podSelector": {}, "ingress": [{"from": [shape.peer(number)]}]}
        home = _space(number % shape.namespaces)
        yield {"metadata": _meta(f"policy-{number}", namespace=home), "spec": spec}


def _meta(name: str, **more: Any) -> Json:
    return {"name": name, "resourceVersion": "1", **more}


def _space(number: int) -> str:
    return f"space-{number}"


def _uid(pod: int) -> str:
    return f"00000000-0000-4000-8000-{pod:012d}"


def _address(node: int, host: int) -> int:
    return (10 << 24) + (node << 8) + host


def _text(pod: int) -> str:
    return str(IPv4Address(_address(pod % NODES, 2 + pod // NODES)))


def _as_the_operator() -> None:
    """Have imported what an operator has, and collect garbage as it does."""
    import quilt_operator.app  # noqa: F401

    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


if __name__ == "__main__":
    _as_the_operator()
    print(json.dumps(Load(SHAPES[sys.argv[1]]).fill()))

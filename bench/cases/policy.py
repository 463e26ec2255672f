"""Network policies from the API to the kernel: a policy, a label, a pod's start, at a node with 5,000 peers.

A real API server, the agents and runtimes of two nodes, and the operator's part that policies need, all on
this machine. The own node has 100 pods, connected by quilt-cni; pods of the other node are who policies
admit. A change is timed from sending its request, or from calling the plugin, to the kernel's own
notification of the element of a set or map by which it holds. Changes come one by one, when every program on
the way has gone to sleep. "A new selector" is one that no policy had: the operator finds out who is behind
it, and the agent waits for that. "Through the operator" is what another node's pod does.

Then pods of the own node start, in turns without policies, announced (the agent has seen the Pod), and not
announced: the plugin is called as soon as the API server has taken the Pod. kube-controller-manager and the
scheduler are stopped for all of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.objects import ANYTHING
from bench.policy_scene import (
    CLIENTS,
    SHOP,
    Scene,
    Tells,
    admitting,
    are_elements,
    clients,
    is_element,
    policy_document,
)
from bench.publishing import Publisher, Thing, alone, publisher
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from bench.show import number
from quilt_crds.names import NAMESPACE, NETWORKPOLICY
from quilt_policy.labels import LabelSelector
from quilt_policy.selectors import PeerSelector

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Network policies: from the API to the kernel"
PEERS, PODS, CLIENT_PODS = 5000, 100, 20
TURN = 20
"""Starts of pods of one kind before it is the next one's turn."""
PAUSE, SETTLED = 0.05, 0.3
"""Seconds before a change of the node's own, and before one that operator and other node take part in."""
TARGETS = {50: 12.0, 99: 40.0}
WEB, VIP = clients(app="web"), clients(tier="vip")
RED = PeerSelector(namespaces=LabelSelector(match_labels={"team": "red"}).terms)
REMOTE_LIMIT = 100.0
LABEL = "a pod's label"
FAR_LABEL = "another node's pod's label, through the operator,"
TEAM = f"a namespace's label, {PODS} pods, through the operator,"
REMOTE, REMOTE_END = (f"{verb} of another node's pod, through the operator" for verb in ("ADD", "DEL"))
CREATED, FLOOR = "policy created", "policy created to a watch of the API server, nobody else"
PLOTTED = (
    FLOOR,
    CREATED,
    "policy deleted",
    "policy with a new selector created",
    f"{LABEL} set",
    f"{TEAM} set",
    REMOTE,
)
OFF, ANNOUNCED, UNANNOUNCED = (f"ADD, {how}" for how in ("policies off", "announced", "not announced"))
LIMITS = {ANNOUNCED: 1.0, UNANNOUNCED: 10.0}
"""Milliseconds by which the median of an ADD may be longer than without policies."""
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Label:
    """Labels that are set and removed, and the elements of a set that come and go with them."""

    what: str
    path: str
    labels: dict[str, str]
    where: str
    keys: set[bytes]


def measure(bench: Bench) -> Result:
    control = bench.control()
    control.claims(PEERS)
    with control.alone(), control.policies(), ExitStack() as stack:
        bench.say("two nodes, an operator and their pods")
        scene = Scene(control, stack, PEERS, PODS + CLIENT_PODS + 1)
        run = Run(scene, bench.rounds(100), bench.rounds(TURN))
        bench.say("policies")
        run.api_server()
        run.policies()
        bench.say("labels")
        run.labels()
        bench.say("pods of the other node")
        run.peers()
        bench.say("pods of the own node")
        run.starts()
    return _result(run.samples)


class Run:
    """What is measured, in milliseconds by its name."""

    def __init__(self, scene: Scene, rounds: int, turn: int) -> None:
        """Connect all pods; policies of one of them have the sets there that others' changes are seen in."""
        self._scene, self._rounds, self._turn = scene, rounds, turn
        self.samples: Samples = defaultdict(list)
        own, other = scene.own, scene.other
        self._clients = [scene.pod(CLIENTS, other, f"client-{n}", "web") for n in range(CLIENT_PODS)]
        self._pods = [scene.pod(SHOP, own, f"pod-{n}", "shop") for n in range(PODS)]
        self._last = scene.pod(SHOP, own, "last", "shop")
        self._everywhere: set[bytes] = set()
        for pod in self._clients:
            other.connect(pod)
        last = _selecting(pod="last")
        scene.policy("from-web", podSelector=last, ingress=[admitting(app="web")])
        scene.policy("from-vip", podSelector=last, ingress=[admitting(tier="vip")])
        peer = {"namespaceSelector": _selecting(team="red")}
        scene.policy("from-red", podSelector=last, ingress=[{"from": [peer]}])
        scene.policy("of-db", podSelector=_selecting(role="db"), ingress=[admitting(81, app="web")])
        for pod in (*self._pods, self._last):
            own.connect(pod)
        scene.until_published(WEB, CLIENT_PODS)
        for selector in (WEB, VIP, RED):
            scene.until_held(selector.set_name)

    def api_server(self) -> None:
        """What the API server needs for a policy; it is of a namespace without pods here."""

        def document(number: int) -> dict[str, Any]:
            return policy_document(f"policy-{number}", CLIENTS)

        thing = Thing(NETWORKPOLICY.path(namespace=CLIENTS), document, "policy-{}".format)
        node = self._scene.own.node
        self.samples[FLOOR] = alone(self._scene.control, node, thing, ANYTHING, range(self._rounds))

    def policies(self) -> None:
        """Policies come and go."""
        own = self._scene.own
        with self._sending() as sender:
            for number in range(self._rounds):
                pod = self._pods[number % PODS]
                one, selected = {own.key(pod)}, _selecting(pod=pod.name)
                known, new = admitting(1000 + number, app="web"), admitting(round=f"r{number}")
                self._policy(sender, "policy", one, podSelector=selected, ingress=[known])
                self._policy(sender, "policy without rules", one, podSelector=selected)
                self._policy(sender, f"policy of {PODS} pods", set(map(own.key, self._pods)), ingress=[known])
                time.sleep(SETTLED)
                self._policy(sender, "policy with a new selector", one, podSelector=selected, ingress=[new])
                time.sleep(SETTLED)

    def labels(self) -> None:
        """Labels come and go: of a pod here, of one of the other node, of the namespace."""
        own, other = self._scene.own, self._scene.other
        everywhere = set(map(own.key, (*self._pods, self._last)))
        with self._sending() as sender:
            for number in range(self._rounds):
                here, there = self._pods[number % PODS], self._clients[number % CLIENT_PODS]
                for label in (
                    Label(LABEL, here.path, {"role": "db"}, "to4", {own.key(here)}),
                    Label(FAR_LABEL, there.path, {"tier": "vip"}, f"{VIP.set_name}-4", {other.key(there)}),
                    Label(TEAM, NAMESPACE.path(SHOP), {"team": "red"}, f"{RED.set_name}-4", everywhere),
                ):
                    self._label(sender, label)

    def peers(self) -> None:
        """Pods of the other node come and go."""
        other, name = self._scene.other, f"{WEB.set_name}-4"
        with ThreadPoolExecutor(1) as pool:
            for number in range(self._rounds):
                pod = self._clients[number % CLIENT_PODS]
                for verb, what, new in (("DEL", REMOTE_END, False), ("ADD", REMOTE, True)):
                    time.sleep(SETTLED)
                    self._scene.listener.forget()
                    start = time.perf_counter()
                    done = pool.submit(other.call, verb, pod)
                    end = self._scene.listener.wait(is_element(new, name))
                    self.samples[what].append((end - start) * 1e3)
                    done.result()

    def starts(self) -> None:
        """Pods of the own node start, and end."""
        scene = self._scene
        scene.policy("started", podSelector=_selecting(app="started"), ingress=[admitting(82, app="web")])
        scene.own.call("DEL", self._last)
        for turn in range(self._rounds // self._turn):
            scene.enforce(False)
            for at in range(self._turn):
                self._start(f"off-{turn}-{at}", OFF)
            scene.enforce(True)
            for at in range(self._turn):
                self._start(f"on-{turn}-{at}", ANNOUNCED)
                self._start(f"new-{turn}-{at}", UNANNOUNCED)

    def _start(self, name: str, what: str) -> None:
        own = self._scene.own
        pod = self._scene.pod(SHOP, own, name, "started", self._last.netns)
        if what != UNANNOUNCED:
            time.sleep(SETTLED)
        self.samples[what].append(own.call("ADD", pod).seconds * 1e3)
        own.call("DEL", pod)
        self._scene.control.admin.request("DELETE", f"{pod.path}?gracePeriodSeconds=0").ok()
        time.sleep(SETTLED)

    def _sending(self) -> AbstractContextManager[Publisher]:
        return publisher(self._scene.control, self._scene.own.node, ANYTHING)

    def _policy(self, sender: Publisher, what: str, keys: set[bytes], **spec: Any) -> None:
        path, body = NETWORKPOLICY.path(namespace=SHOP), policy_document("bench", **spec)
        self._timed(f"{what} created", sender, ("POST", path, body), are_elements(True, "to4", keys))
        self._timed(
            f"{what} deleted", sender, ("DELETE", f"{path}/bench", None), are_elements(False, "to4", keys)
        )

    def _label(self, sender: Publisher, label: Label) -> None:
        gone = dict.fromkeys(label.labels)
        for how, labels, new in (("set", label.labels, True), ("removed", gone, False)):
            body = {"metadata": {"labels": labels}}
            tells = are_elements(new, label.where, label.keys)
            time.sleep(SETTLED)
            self._timed(f"{label.what} {how}", sender, ("PATCH", label.path, body), tells)

    def _timed(self, what: str, sender: Publisher, request: tuple[str, str, Any], tells: Tells) -> None:
        time.sleep(PAUSE)
        self._scene.listener.forget()
        self.samples[what].append(sender.timed(*request, partial(self._scene.listener.wait, tells)))


def _selecting(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


def _result(samples: Samples) -> Result:
    lines = [
        Line(
            what=f"policy created to the kernel, p{percent}",
            value=percentile(samples[CREATED], percent),
            unit="ms",
            target=target,
        )
        for percent, target in TARGETS.items()
    ]
    lines += [
        Line(
            what="another node's ADD to the element of its pod here, p99",
            value=percentile(samples[REMOTE], 99),
            unit="ms",
            target=REMOTE_LIMIT,
        ),
        *(_more(what, samples, limit) for what, limit in LIMITS.items()),
    ]
    lines += [
        Line(what=what, value=median(sample), unit="ms", p50=median(sample), p99=percentile(sample, 99))
        for what, sample in samples.items()
    ]
    named = {what: sample for what, sample in samples.items() if what in PLOTTED}
    series = [Series(name=what, points=distribution(sample)) for what, sample in named.items()]
    plot = Plot(
        name="policy",
        title="From the API to the kernel",
        kind="cdf",
        x="ms",
        y="share",
        series=series,
        limit=40,
    )
    return Result(lines=lines, plots=[plot])


def _more(what: str, samples: Samples, limit: float) -> Line:
    """By how much more an ADD lasts than without policies."""
    own, without = median(samples[what]), median(samples[OFF])
    note = f"{number(own)} and {number(without)} ms"
    what = f"{what}: more than without policies"
    return Line(what=what, value=own - without, unit="ms", target=limit, note=note)

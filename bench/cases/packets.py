"""What network policies cost packets between two pods of a node: of a flow, and of new flows and connections.

Two nodes, each a network namespace with the real runtime: one enforces policies, one does not. On both, a
client sends to pods beside it, through the bridge and the forward chain. On the first node every server is
held to other policies: to none, or to a chain of some rules, each of which names the same addresses at
another port of TCP and UDP; the client is among the addresses, and the last rule accepts. So every rule is
tried for its addresses and its port, once a minute: what was judged holds for later connections of a client
to a server's port, as all are here. Packets between namespaces are forwarded on the sender's account: the
figures of packets are processor time of the client's process, as the kernel accounts for it, in turns of
0.2 s, to a port that nobody reads. A flow of one packet has a socket of its own, whose making is in the
figure. Client and server have a processor each; for transactions and connections they share one, as most of
their time is the wake-up of an idle one otherwise. Traffic has priority over all other work of the machine
(nice -10), which can only make a figure worse: each is the best of its rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plugins import Pods
from bench.policed import PolicedNode, address_set, ingress, pod_name, program
from bench.result import Line, Plot, Result, Series, median
from bench.show import number
from bench.traffic import BITS, PORT, Traffic, server
from bench.traffic import measure as traffic
from bench.traffic import program as traffic_program
from quilt_policy.program import AddressSet, Chain, Profile

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Network policies: packets between pods"
ROUNDS = 25
LATER, CONNECTIONS = 1.06, 1 / 0.95
"""Times what the same costs without policies."""
NONE = "policies off"


@dataclass(frozen=True)
class Held:
    """What a server is held to: so many rules, which name so many addresses; no rules: to nothing."""

    rules: int = 0
    addresses: int = 0

    @property
    def name(self) -> str:
        """As a word of sets, chains and pods."""
        return f"r{self.rules}a{self.addresses}"

    @property
    def what(self) -> str:
        """For people."""
        rules = f"{self.rules} rule{'s' if self.rules > 1 else ''}"
        return f"{rules}, {self.addresses:,} addresses" if self.rules else "a pod that no policy selects"


@dataclass(frozen=True)
class Kind:
    """One kind of traffic: what is measured, and in which unit; `accounted` is processor time."""

    what: str
    name: str
    seconds: float
    accounted: bool = True
    unit: str = "us"

    def best(self, sample: list[float]) -> float:
        """The least time, or the most data."""
        return min(sample) if self.unit == "us" else max(sample)


UNSELECTED = Held()
ALL = [
    UNSELECTED,
    *(Held(rules, 10) for rules in (1, 20)),
    *(Held(200, size) for size in (10, 1_000, 100_000)),
]
LATER_PACKETS = Kind("a packet of a flow", "packets", 0.2)
FIRST_PACKETS = Kind("a flow of one packet", "flows", 0.2)
CONNECTION = Kind("a connection, from SYN to FIN", "crr", 0.3, accounted=False)
KINDS = (
    LATER_PACKETS,
    FIRST_PACKETS,
    CONNECTION,
    Kind("request and response", "rr", 0.3, accounted=False),
    Kind("TCP, 1 stream", "stream", 0.3, accounted=False, unit="Gbit/s"),
)
Samples = dict[tuple[Kind, Held | None], list[float]]
"""None: policies are off."""


@dataclass(frozen=True)
class Way:
    """Between which pods."""

    held: Held | None
    netns: str
    to: str


def measure(bench: Bench) -> Result:
    built = traffic_program(bench.say)
    samples: Samples = defaultdict(list)
    with ExitStack() as stack:
        pods = iter(stack.enter_context(Pods(len(ALL) + 3)).names)
        ways = [_plain(stack, built, pods), *_policed(stack, built, pods)]
        for turn in range(bench.rounds(ROUNDS)):
            bench.say(f"round {turn + 1}")
            for kind in KINDS:
                for way in ways if turn % 2 else ways[::-1]:
                    samples[kind, way.held].append(_sample(built, kind, way, bench.seconds(1)))
    return _result(samples)


def _plain(stack: ExitStack, built: Path, pods: Iterator[str]) -> Way:
    """A client and a server of a node without policies."""
    node = PolicedNode(stack, "plain", policies=False)
    names = {"client": next(pods), "server": next(pods)}
    node.connect(names)
    netns = {name: f"/run/netns/{pod}" for name, pod in names.items()}
    stack.enter_context(server(built, netns["server"]))
    return Way(None, netns["client"], node.addresses["server"])


def _policed(stack: ExitStack, built: Path, pods: Iterator[str]) -> Iterator[Way]:
    """A client and a server for each set of policies."""
    node = PolicedNode(stack, "policed", policies=True)
    names = {name: next(pods) for name in ("client", *(held.name for held in ALL))}
    node.connect(names)
    node.enforce(program(_parts(node.addresses["client"])))
    for held in ALL:
        stack.enter_context(server(built, f"/run/netns/{names[held.name]}"))
        yield Way(held, f"/run/netns/{names['client']}", node.addresses[held.name])


def _parts(client: str) -> Iterator[Chain | AddressSet | Profile]:
    yield Profile(pod_name("client"))
    for held in ALL:
        yield Profile(pod_name(held.name), f"e_{held.name}" if held.rules else "")
        if held.rules:
            yield address_set(f"p_{held.name}", held.addresses, client)
            yield ingress(f"e_{held.name}", held.rules, f"p_{held.name}", PORT)


def _sample(built: Path, kind: Kind, way: Way, times: float) -> float:
    found = traffic(built, Traffic(kind.name), way.netns, way.to, kind.seconds * times)
    if kind.unit != "us":
        return found.rate * BITS
    return found.used * 1e-3 if kind.accounted else 1e6 / found.rate


def _result(samples: Samples) -> Result:
    lines = [_line(samples, kind, held) for kind in KINDS for held in ALL]
    return Result(lines=lines, plots=[_plot(samples)])


def _line(samples: Samples, kind: Kind, held: Held) -> Line:
    own, without = samples[kind, held], samples[kind, None]
    target = {LATER_PACKETS: LATER, CONNECTION: CONNECTIONS if held == Held(20, 10) else None}.get(kind)
    medians = " and ".join(number(median(taken)) for taken in (own, without))
    return Line(
        what=f"{kind.what}, {held.what}",
        value=kind.best(own),
        unit=kind.unit,
        against=NONE,
        other=kind.best(without),
        target=target,
        target_is_ratio=target is not None,
        note=f"medians {medians}",
    )


def _plot(samples: Samples) -> Plot:
    """What the first and a later packet cost over the number of rules."""
    chosen = [held for held in ALL if held.rules and held.addresses == 10]
    series = [
        Series(
            name=f"{kind.what}{', policies off' if without else ''}",
            points=[
                (float(held.rules), round(min(samples[kind, None if without else held]), 3))
                for held in chosen
            ],
        )
        for kind in (FIRST_PACKETS, LATER_PACKETS)
        for without in (False, True)
    ]
    return Plot(
        name="packets",
        title="Processor time of a packet",
        kind="line",
        x="rules of the server's policies",
        y="microseconds",
        series=series,
    )

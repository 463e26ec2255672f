"""What a mesh of so many nodes costs, as formulas; docs/scale.md is made of them: `python -m bench.model`.

Each formula is a straight line through what was measured, and names the measurements that it must agree with:
a test compares them with the files in results/.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.result import FOLDER

PAGE = Path(__file__).resolve().parents[1] / "docs/scale.md"
BEGIN, END = "<!-- model: made by bench/model.py -->\n", "<!-- end of model -->\n"
SIZES = (100, 1_000, 5_000, 10_000)
TOLERANCE = 0.2
HEARTBEAT_S = 10.0
PROBED = 64
"""Peers that a node probes at a time, at most on average."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A line of a result, of a mesh of so many nodes; its value times `scale` is in the formula's unit."""

    result: str
    what: str
    nodes: int
    scale: float = 1.0

    def value(self) -> float:
        """Return what was measured."""
        lines = json.loads((FOLDER / f"{self.result}.json").read_text())["lines"]
        return self.scale * next(float(line["value"]) for line in lines if line["what"] == self.what)


@dataclass(frozen=True, slots=True)
class Formula:
    """A cost of a mesh of `nodes` nodes; `text` is the formula for people."""

    what: str
    unit: str
    text: str
    cost: Callable[[int], float]
    evidence: tuple[Measured, ...] = ()

    def deviations(self) -> dict[str, float]:
        """Return by how much the formula differs from each measurement, as a share of that."""
        return {f"{one.what} ({one.result})": self.cost(one.nodes) / one.value() - 1 for one in self.evidence}


def _at(result: str, pattern: str, *sizes: int, scale: float = 1.0) -> tuple[Measured, ...]:
    return tuple(Measured(result, pattern.format(f"{size:,}"), size, scale) for size in sizes)


def _watching(pattern: str, scale: Callable[[int], float] = lambda _: 1.0) -> tuple[Measured, ...]:
    """The lines of `fanout` at 5,000 and 10,000 watches; `scale` is of so many."""
    return tuple(
        Measured("fanout", f"{count:,} watches{pattern}", count, scale(count)) for count in (5_000, 10_000)
    )


KBIT, DELIVERED = 6.4, 45_000
"""A change of one claim, as each watch gets it; the deliveries of such that two cores do in a second."""
_PLANE, _LARGE = "control_plane", "control_plane_10000"


def _planes(pattern: str) -> tuple[Measured, ...]:
    """The lines of both meshes that joined one API server."""
    return tuple(
        Measured(result, pattern.format(count), count)
        for result, count in ((_PLANE, 5_000), (_LARGE, 10_000))
    )


FORMULAS = (
    Formula("each node", "MB", "agent: 53 + 1.37 KB for each peer", lambda n: 53 + 0.00137 * n,
            _at("start", "agent, memory with {} peers", 254, 1_000, 5_000, 20_000)),
    Formula("each node", "MB", "runtime: 39 + 0.65 KB for each peer", lambda n: 39 + 0.00065 * n,
            _at("start", "runtime, memory with {} peers", 254, 1_000, 5_000, 20_000)),
    Formula("each node", "s", "start until all peers are verified: 0.42 + 0.08 ms for each peer",
            lambda n: 0.42 + 0.00008 * n,
            _at("start", "start with {} peers", 254, 1_000, 5_000, 20_000, scale=0.001)),
    Formula("each node", "ms", "an empty kernel is programmed: 21.5 us for each peer", lambda n: 0.0215 * n,
            _at("programming", "{} peers", 1_000, 5_000, 20_000)),
    Formula("each node", "kbit/s", "probes: 1.3 for each peer that is probed, which are 64 at most",
            lambda n: 1.3 * min(n - 1, PROBED),
            (Measured("probes", "sent on the underlay", 5_000),)),
    Formula("each node", "ms", "claims, one changes a second: the last one knows: 103 + 20 us for each node",
            lambda n: 103 + 0.02 * n, _watching(", 1 a second: a change to its last delivery")),
    Formula("API server", "requests/s", "heartbeats: one write for each node in ten seconds",
            lambda n: n / HEARTBEAT_S),
    Formula("API server", "% of a core", "heartbeats: 12.5 for 1,000 nodes", lambda n: 0.0125 * n,
            _at(_LARGE, "… the API server at these heartbeats", 10_000)),
    Formula("API server", "s", "all nodes join at once: five writes of 1.3 ms for each node",
            lambda n: 5 * 0.0013 * n, _planes("{} nodes at once, 50 watchers: last claim published")),
    Formula("API server", "MB", "290 + 186 KB for each node", lambda n: 290 + 0.186 * n,
            (Measured(_LARGE, "the API server's memory with 0 nodes", 0),
             Measured(_LARGE, "the API server's memory with 10000 nodes", 10_000))),
    Formula("API server", "MB", "objects as JSON, three for each node: 3.6 KB", lambda n: 0.0036 * n,
            _at(_LARGE, "objects of 10000 nodes, as JSON", 10_000)),
    Formula("API server", "% of a core", "policies: 6.7 us for each node and changed selector, ten a second",
            lambda n: 10 * 6.7e-4 * n,
            (Measured("watchers", "the API server, changes a second: 10", 5_000),)),
    Formula("API server", "MB", "policies: 148 KB for each node's watch", lambda n: 0.148 * n,
            (Measured("watchers", "… memory for each watch", 5_000, scale=5),)),
    Formula("API server", "MB", "claims: 78 KB for each node's watch", lambda n: 0.078 * n,
            _watching(": memory for each", lambda n: n / 1000)),
    Formula("API server", "% of a core", "claims, one changes a second: 7.4 + 2.4 for 1,000 watches",
            lambda n: 7.4 + 0.0024 * n, _watching(", 1 a second: the API server")),
    Formula("API server", "Mbit/s", f"claims, one changes a second: {KBIT} kbit for each watch",
            lambda n: 1e-3 * KBIT * n, _watching(", 1 a second: deliveries")),
    Formula("API server", "changes/s", "claims, most that two cores delivered: 45,000 deliveries",
            lambda n: DELIVERED / n, _watching(", 10 a second: deliveries", lambda n: 1e3 / (KBIT * n))),
    Formula("API server", "s", "claims, all nodes join at once: a delivery for each two, 45,000 a second",
            lambda n: n * (n - 1) / 2 / DELIVERED),
    Formula("etcd", "% of a core", "heartbeats: 1.8 for 1,000 nodes", lambda n: 0.0018 * n,
            _at(_LARGE, "… etcd at these heartbeats", 10_000)),
    Formula("etcd", "MB", "48 + 15 KB for each node", lambda n: 48 + 0.015 * n,
            (Measured(_LARGE, "etcd's memory with 0 nodes", 0),
             Measured(_LARGE, "etcd's memory with 10000 nodes", 10_000))),
    Formula("operator", "% of a core", "heartbeats: 0.7 + 0.33 for 1,000 nodes", lambda n: 0.7 + 0.00033 * n,
            _planes("operator at {} heartbeats each 10 s")),
    Formula("operator", "MB", "100 + 12 KB for each node", lambda n: 100 + 0.012 * n,
            _planes("operator's memory with {} nodes")),
    Formula("operator", "s", "restart until it works: 1.37 ms for each node", lambda n: 0.00137 * n,
            (Measured(_PLANE, "restart with 6000 nodes to ready", 6_000),
             Measured(_LARGE, "restart with 10000 nodes to ready", 10_000))),
)  # fmt: skip


def table() -> str:
    """Return the page's table."""
    heads = " | ".join(f"{size:,} nodes" for size in SIZES)
    rows = [f"| of | cost | {heads} |", f"| --- | --- |{' ---: |' * len(SIZES)}"]
    for one in FORMULAS:
        costs = " | ".join(_rounded(one.cost(size)) for size in SIZES)
        rows.append(f"| {one.what} | {one.text}, {one.unit} | {costs} |")
    return "\n".join(rows) + "\n"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def page(text: str) -> str:
    """Return the page with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{behind}"


def main() -> None:
    """Write the page, or with `--check` fail when it is not as it would be written."""
    text = PAGE.read_text()
    if "--check" not in sys.argv:
        PAGE.write_text(page(text))
    elif page(text) != text:
        raise SystemExit("docs/scale.md is out of date; run: python -m bench.model")


if __name__ == "__main__":
    main()

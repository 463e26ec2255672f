"""Paths of a real cluster: what is dropped one way is named in that way, and no more after the repair."""

from __future__ import annotations

from typing import Any

from quilt_crds.names import PEERS_REACHABLE
from tests.support.commands import document, quiltctl
from tests.support.mesh import Mesh, Pod, until
from tests.support.node_events import node_events
from tests.support.overlay_cut import cut

PROMISED = 30.0
"""Seconds from the fault to its name, and from the repair until it is forgotten."""


def condition(mesh: Mesh, node: str) -> dict[str, Any]:
    return mesh.condition(node, PEERS_REACHABLE)


def failing(mesh: Mesh, node: str) -> float:
    return mesh.metric(node, 'quilt_probes_peers{state="failing"}')


def noted(mesh: Mesh, reason: str, direction: str) -> bool:
    """Whether an Event of this reason names the direction."""
    return any(direction in message for message in node_events(mesh, reason).values())


def test_udp_4789_dropped_one_way_is_named_with_its_direction(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """Condition, Event, metric and `quiltctl status` name pair and direction; gone after the repair."""
    one, two, three = pods
    until(
        "all paths work",
        lambda: all(condition(mesh, node).get("status") == "True" for node in pods),
        timeout=60,
    )
    direction = f"{one} → {two}"
    with cut(mesh, one, two):
        until(
            "the condition names it",
            lambda: direction in condition(mesh, one).get("message", ""),
            timeout=PROMISED,
            every=0.5,
        )
        assert condition(mesh, one)["status"] == "False"
        assert failing(mesh, one) == 1
        until("an Event names it", lambda: noted(mesh, "PathFailing", direction), 60)
        assert direction in quiltctl(mesh, "status").stdout
        shown = document(quiltctl(mesh, "latency", "-o", "json"))
        bad = [(path["from"], path["to"]) for path in shown["paths"] if path["state"] == "failing"]
        assert bad == [(one, two)]
        assert condition(mesh, three)["status"] == "True"
    until(
        "it is forgotten",
        lambda: all(condition(mesh, node).get("status") == "True" for node in pods),
        timeout=PROMISED,
        every=0.5,
    )
    assert failing(mesh, one) == 0
    until("an Event says that it is over", lambda: noted(mesh, "PathRecovered", direction), 5)

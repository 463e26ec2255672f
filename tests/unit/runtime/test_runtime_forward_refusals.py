"""Which rules of others refuse pods' packets for certain, so that the node's condition may say so."""

from __future__ import annotations

from typing import Any

import pytest

from quilt_runtime.core.forward import refusals

DEVICES = ("quilt0", "vxlan100")
DROP, ACCEPT, COUNTER = {"drop": None}, {"accept": None}, {"counter": {"packets": 1, "bytes": 2}}


def match(kind: str, key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {kind: {"key": key}}, "right": right}}


def found(*rules: list[dict[str, Any]], policy: str = "accept") -> list[str]:
    place = {"family": "inet", "table": "wall"}
    chain = {"chain": {**place, "name": "f", "type": "filter", "hook": "forward", "policy": policy}}
    return refusals([chain, *({"rule": {**place, "chain": "f", "expr": rule}} for rule in rules)], DEVICES)


@pytest.mark.parametrize(
    ("rules", "devices"),
    [
        ([[match("meta", "iifname", "quilt0"), COUNTER, DROP]], "quilt0"),
        (
            [[match("meta", "iifname", "quilt0"), match("meta", "oifname", "vxlan100"), DROP]],
            "quilt0, vxlan100",
        ),
        ([[{"reject": {"type": "icmp"}}]], "all devices"),
        # What is established already says nothing of a new connection.
        ([[match("ct", "state", ["established", "related"], "in"), ACCEPT], [DROP]], "all devices"),
    ],
)
def test_a_rule_that_refuses_all_packets_of_a_device_is_named(
    rules: list[list[dict[str, Any]]], devices: str
) -> None:
    assert found(*rules) == [f"Chain inet wall f drops packets of {devices} that pods send or get."]


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [[match("meta", "iifname", "eth0"), DROP]],
        [[match("meta", "iifname", "quilt0", "!="), DROP]],
        [[match("meta", "iifname", "quilt0"), match("meta", "l4proto", "udp"), DROP]],
        [[match("meta", "iifname", "quilt0"), {"limit": {"rate": 1}}, DROP]],
        # It may have been accepted before.
        [[match("meta", "iifname", "quilt0"), ACCEPT], [DROP]],
        [[{"jump": {"target": "others"}}], [DROP]],
        [[match("ct", "state", ["new"], "in"), ACCEPT], [DROP]],
    ],
)
def test_what_is_not_certain_is_not_named(rules: list[list[dict[str, Any]]]) -> None:
    assert found(*rules) == []

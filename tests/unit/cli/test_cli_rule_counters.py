"""What a kernel counts of policies' rules, beside what decides."""

from __future__ import annotations

import json

import pytest

from quilt_cli.core.policies import Answer, Side
from quilt_cli.core.rule_counters import counters, deciding_nodes, with_counters

ORIGIN = "shop/db ingress 0"
BY_RULE = Side("Ingress", True, "a rule allows it", ("shop/db",), 0, "n1", ORIGIN)
BY_NONE = Side("Egress", True, "no policy decides")
ANSWER = Answer("shop/web-1", "shop/db-0", "TCP", 5432, True, BY_NONE, BY_RULE)


def rule(comment: str, *statements: object) -> dict[str, object]:
    return {"rule": {"family": "inet", "chain": "c", "comment": comment, "expr": list(statements)}}


def listing(*entries: object) -> bytes:
    head = {"metainfo": {"version": "1.0.6"}}, {"counter": {"name": "policy_ingress", "packets": 9}}
    return json.dumps({"nftables": [*head, *entries]}).encode()


def test_a_rule_counts_in_the_chains_of_all_combinations_and_families() -> None:
    match = {"match": {"op": "==", "left": {"ct": {"key": "proto-dst"}}, "right": 5432}}
    named = {"counter": "policy_ingress"}
    found = counters(
        listing(
            rule(ORIGIN, match, {"counter": {"packets": 3, "bytes": 180}}, {"return": None}),
            rule(ORIGIN, match, {"counter": {"packets": 4, "bytes": 240}}, named, {"drop": None}),
            rule("", {"counter": {"packets": 5, "bytes": 300}}, {"drop": None}),
            {"rule": {"chain": "c", "expr": [{"drop": None}]}},
        )
    )
    assert found == {ORIGIN: 7}


@pytest.mark.parametrize("text", [b"", b"[]", b"Error: No such file or directory"])
def test_what_is_no_listing_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        counters(text)


def test_only_who_decides_is_asked_and_who_is_silent_counts_nothing() -> None:
    assert deciding_nodes(ANSWER) == {"n1"}
    assert with_counters(ANSWER, {"n1": {ORIGIN: 7}}).ingress.packets == 7
    assert with_counters(ANSWER, {"n1": {}}).ingress.packets == 0
    assert with_counters(ANSWER, {"n2": {ORIGIN: 7}}) == ANSWER
    assert with_counters(ANSWER, {"n1": {ORIGIN: 7}}).egress == BY_NONE

"""What the chaos run holds to be wrong: the judge is tried before it judges."""

from __future__ import annotations

from typing import Any

import pytest

from bench.control_plane.truth import Truth

CIDR = "10.42.1.0/24"


def claim(
    phase: str, node: str = "n", cidr: str = CIDR, host_ip: str = "172.16.0.1", version: int = 1
) -> dict[str, Any]:
    mesh = {"phase": phase, "hostIP": host_ip}
    if phase == "Releasing":
        mesh["releasedAt"] = "2026-01-01T00:00:00Z"
    name = cidr.replace("/", "-")
    meta = {"name": name, "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"cidr": cidr, "node": node}, "mesh": mesh}


@pytest.fixture
def truth() -> Truth:
    truth = Truth(grace=2.0)
    truth.enter("n", "172.16.0.1", 0, prepared=False)
    truth.see("ADDED", claim("Up"))
    return truth


def test_nothing_is_wrong_with_a_node_that_has_what_it_should(truth: Truth) -> None:
    assert truth.usable("n") == {CIDR}
    assert truth.wrong([claim("Up")]) == []
    assert not truth.faults


@pytest.mark.parametrize("kind", ["MODIFIED", "DELETED"])
def test_a_subnet_that_pods_use_must_not_be_released(truth: Truth, kind: str) -> None:
    truth.serves_pods("n", CIDR, version=5)
    truth.see("MODIFIED", claim("Up", version=6))
    assert not truth.faults
    truth.see(kind, claim("Releasing", version=7))
    assert "while pods of n have addresses of it" in truth.faults[0]


def test_what_was_released_before_the_report_is_no_fault_however_late_the_watch(truth: Truth) -> None:
    truth.serves_pods("n", CIDR, version=5)
    truth.see("MODIFIED", claim("Releasing", version=4))
    assert not truth.faults


def test_what_a_former_node_left_may_be_released_until_an_operator_wrote_it_for_the_new_one(
    truth: Truth,
) -> None:
    truth.leave("n")
    truth.enter("n", "172.16.0.2", 3, prepared=False)
    truth.serves_pods("n", CIDR, version=5)
    truth.see("MODIFIED", claim("Releasing", version=6))
    assert not truth.faults
    truth.see("MODIFIED", claim("Up", host_ip="172.16.0.2", version=7))
    truth.see("MODIFIED", claim("Releasing", version=8))
    assert "while pods of n have addresses of it" in truth.faults[0]


def test_who_left_may_lose_its_subnet(truth: Truth) -> None:
    truth.serves_pods("n", CIDR, version=5)
    truth.leave("n")
    truth.see("MODIFIED", claim("Releasing"))
    assert not truth.faults


@pytest.mark.parametrize(
    ("held", "word"),
    [
        ([], "n has 0 subnets"),
        ([claim("Up"), claim("Up", cidr="10.42.2.0/24")], "n has 2 subnets"),
        ([claim("Up"), claim("Up", "gone", "10.42.2.0/24")], "claim of gone leaked"),
        ([claim("Up", host_ip="172.16.0.9")], "not {'phase': 'Up', 'hostIP': '172.16.0.1'}"),
        ([claim("Down")], "not {'phase': 'Up'"),
    ],
)
def test_what_is_still_wrong_once_all_is_calm(truth: Truth, held: list[dict[str, Any]], word: str) -> None:
    assert any(word in text for text in truth.wrong(held))


def test_a_prepared_node_has_a_subnet_that_nobody_routes_to(truth: Truth) -> None:
    truth.enter("n", "172.16.0.1", 0, prepared=True)
    prepared = {**claim("Down"), "mesh": {"phase": "Down"}}
    truth.see("MODIFIED", prepared)
    assert truth.wrong([prepared]) == []
    assert truth.wrong([claim("Up")])

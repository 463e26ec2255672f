"""What the benchmarks of policies make of their samples, and what they listen to."""

from __future__ import annotations

from bench.cases import policy
from bench.events import ElementChange
from bench.policy_scene import are_elements, is_element

ONE, TWO = b"\x0a\x01\x02\x03", b"\x0a\x01\x02\x04"


def test_what_holds_is_held_when_its_last_element_is_there() -> None:
    tells = are_elements(True, "to4", {ONE, TWO})
    assert not tells(ElementChange(True, "to4", ONE))
    assert not tells(ElementChange(False, "to4", TWO))
    assert not tells(ElementChange(True, "from4", TWO))
    assert tells(ElementChange(True, "to4", TWO))
    assert is_element(True, "to4")(ElementChange(True, "to4", ONE))


def test_a_pods_start_is_beside_the_same_without_policies() -> None:
    samples = {policy.CREATED: [10.0, 11.0, 50.0], policy.REMOTE: [30.0]}
    samples |= {policy.OFF: [9.0], policy.ANNOUNCED: [9.5], policy.UNANNOUNCED: [20.0]}
    lines = {line.what: line for line in policy._result(samples).lines}
    assert lines["policy created to the kernel, p99"].met is False
    assert lines["policy created to the kernel, p50"].met is True
    assert lines[f"{policy.ANNOUNCED}: more than without policies"].value == 0.5
    assert lines[f"{policy.UNANNOUNCED}: more than without policies"].met is False

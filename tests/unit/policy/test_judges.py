"""Random clusters and events: three judges have to agree.

The reference evaluator looks at the objects, the interpreter at the program alone; and a compiler that is
given everything at once has to have the same program as one that saw it happen. The worlds come from seeds:
`QUILT_POLICY_WORLDS=20000 pytest tests/unit/policy/test_judges.py` looks at that many.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_policy.compile import Compiler
from quilt_policy.evaluate import evaluate
from quilt_policy.program import Program
from tests.support.policy_events import applied, connections, happen, scene
from tests.support.policy_interpreter import permits
from tests.support.policy_scene import Scene

WORLDS = int(os.environ.get("QUILT_POLICY_WORLDS", "50"))
EVENTS = 8
QUESTIONS = 24


def judge(random: Random, found: Scene, compiler: Compiler, program: Program) -> None:
    """Ask evaluator and interpreter of some connections."""
    world, node = found.world(), found.node()
    assert not compiler.withheld, "everything was reported"
    for connection in connections(random, found, QUESTIONS):
        verdict = evaluate(world, connection)
        egress, ingress = permits(program, node, connection)
        if connection.client in node.pods:
            assert egress is verdict.egress.allowed, (connection, verdict.egress)
        if connection.server in node.pods:
            assert ingress is verdict.ingress.allowed, (connection, verdict.ingress)


def look(random: Random) -> None:
    """Make a world, let things happen to it, and hold the judges against each other."""
    found = scene(random)
    compiler = found.compiled()
    program = Program()
    for _ in range(random.randint(0, EVENTS)):
        happen(random, found, compiler)
        program = applied(program, compiler.change())
        assert program == found.compiled().program()
    found.report(compiler, sorted(compiler.selectors, key=lambda one: one.text))
    program = applied(program, compiler.change())
    assert program == found.compiled().program()
    assert applied(program, compiler.change()) == program
    judge(random, found, compiler, program)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_judges_agree(random: Random) -> None:
    look(random)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_what_is_not_known_yet_lets_nobody_through(random: Random) -> None:
    """A pod that has an address is held to its policies before it is known who is behind them."""
    found = scene(random)
    found.connected = set(found.pods)
    needed = sorted(found.compiled().selectors, key=lambda one: one.text)
    found.report(Compiler(), random.sample(needed, random.randint(0, len(needed))))
    program, world, node = found.compiled().program(), found.world(), found.node()
    for connection in connections(random, found, QUESTIONS):
        verdict = evaluate(world, connection)
        egress, ingress = permits(program, node, connection)
        assert verdict.egress.allowed or not egress or connection.client not in node.pods, connection
        assert verdict.ingress.allowed or not ingress or connection.server not in node.pods, connection


@pytest.mark.timeout(0)
def test_judges_agree_in_many_worlds() -> None:
    for seed in range(WORLDS):
        try:
            look(Random(seed))
        except AssertionError as error:
            error.add_note(f"world {seed}")
            raise

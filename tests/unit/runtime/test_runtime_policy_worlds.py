"""Random clusters and events, down to the kernel's table: what is in it, and what is judged again.

The worlds come from seeds, as those of `tests/unit/policy/test_judges.py`.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest

from quilt_policy.program import Program
from quilt_policy.verdicts import Connection
from quilt_runtime.core.policyjudged import FORGET
from quilt_runtime.core.policyplan import Connected, State, plan, state
from tests.support.policy_events import connections, happen, scene
from tests.support.policy_interpreter import Node, permits
from tests.support.policy_kernel import PolicyKernel
from tests.support.policy_programs import GROUND6
from tests.support.policy_scene import HERE, Scene

WORLDS = int(os.environ.get("QUILT_POLICY_WORLDS", "50"))
EVENTS = 8
QUESTIONS = 200
LONGEST_NAME = 31
"""Older kernels refuse a longer name of a set."""


@pytest.mark.timeout(0)
def test_the_table_is_the_same_by_changes_and_from_nothing_and_what_is_forbidden_is_judged_again() -> None:
    for seed in range(WORLDS):
        try:
            _look(Random(seed))
        except AssertionError as error:
            error.add_note(f"world {seed}")
            raise


def _look(random: Random) -> None:
    found, kernel = scene(random), PolicyKernel()
    compiler, held = found.compiled(), State()
    before, node = Program(), found.node()
    for number in range(EVENTS):
        if number % 2:  # so that there are steps in which members of sets change, and nothing else
            found.report(compiler, compiler.selectors)
        else:
            happen(random, found, compiler)
        program = compiler.program()
        wanted = state(GROUND6, program, _connected(found, program))
        steps = plan(held, wanted)
        assert "elements" not in steps.before, "nft needs seconds for many"
        kernel.carry_out(steps)
        assert all(len(name) <= LONGEST_NAME for name in (*kernel.members, *kernel.chains))
        assert not any("reject" in rule for rules in kernel.chains.values() for rule in rules), (
            "who scans learns"
        )
        again = PolicyKernel()
        again.carry_out(plan(State(), wanted))
        assert (kernel.members, kernel.chains) == (again.members, again.chains)
        if not all(one in steps.changes for one in FORGET):
            asked = connections(random, found, QUESTIONS)
            assert not [
                one for one in asked if _passes(before, node, one) > _passes(program, found.node(), one)
            ]
        held, before, node = wanted, program, found.node()


def _passes(program: Program, node: Node, connection: Connection) -> bool:
    """Whether the table lets a connection pass; pods that nobody announced are cut off."""
    ends = (node.pods[one] for one in (connection.client, connection.server) if one in node.pods)
    return all(one in program.pods for one in ends) and all(permits(program, node, connection))


def _connected(found: Scene, program: Program) -> list[Connected]:
    """The pods of this node that have an address."""
    made = []
    for name, pod in found.with_address.items():
        v4, v6 = found.addresses(name)
        if pod.node == HERE:
            assert isinstance(v4, IPv4Address)
            assert isinstance(v6, IPv6Address)
            made.append(Connected(pod.key, v4, v6))
    return made

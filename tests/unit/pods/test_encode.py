"""What the agent sends is what the runtime reads, whatever policies there are and whatever happens."""

from __future__ import annotations

from random import Random

import pytest

from quilt_pods import encode
from quilt_policy.compile import Compiler
from quilt_proto import policy_pb2
from quilt_runtime.services import policy_wire
from tests.support import policy_events


@pytest.mark.parametrize("seed", range(60))
def test_programs_and_changes_arrive_as_they_were_compiled(seed: int) -> None:
    random, compiler = Random(seed), Compiler()
    scene = policy_events.scene(random)
    for _ in range(40):
        policy_events.happen(random, scene, compiler)
    sent = encode.program(compiler.program()).SerializeToString()
    held = policy_wire.program(policy_pb2.PolicyProgram.FromString(sent))
    for _ in range(40):
        policy_events.happen(random, scene, compiler)
        change = encode.change(compiler.change()).SerializeToString()
        held = policy_wire.changed(held, policy_pb2.PolicyChange.FromString(change))
    assert held == compiler.program()

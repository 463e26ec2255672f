"""A node that gets another subnet while pods have addresses of the old one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import DOWN, QUILTSUBNET, RELEASING, UP
from quilt_crds.wire import Mesh, QuiltNode
from quilt_kube.decoding import convert
from quilt_operator.core.desired import plan_claims
from tests.support.operator_doubles import Operator, made_claim

OLD, NEW = "10.42.1.0/24", "10.42.100.0/24"


@pytest.fixture
async def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    operator = Operator(monkeypatch)
    await operator.join("n", "192.0.2.1", servedSubnets=[OLD])
    await operator.wait(2)
    assert operator.claims() == {OLD: ("n", "Up", "192.0.2.1")}
    return operator


async def test_a_claim_in_use_stays_up_until_the_runtime_serves_the_new_one(operator: Operator) -> None:
    """t1: A claim in use stays Up, and a condition says to drain, until the runtime serves the new subnet."""
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(700)
    assert operator.phases() == {OLD: "Up", NEW: "Up"}
    condition = operator.condition("n", "SubnetInUse")
    assert (condition["status"], condition["reason"]) == ("True", "DrainFirst")
    assert "drain first" in condition["message"]
    assert operator.events.published.count(("n", "DrainFirst")) == 1
    assert operator.api.nodes["n"]["status"]["subnets"] == [OLD, NEW], "the one to move to comes last"
    operator.node("n", servedSubnets=[NEW])
    await operator.wait(2)
    assert operator.phases() == {OLD: "Releasing", NEW: "Up"}
    assert not operator.condition("n", "SubnetInUse")


async def test_the_subnet_of_running_pods_is_given_to_no_other_node(operator: Operator) -> None:
    """t1: The subnet of running pods is given to nobody else, however long its node is asked to move."""
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(700)
    await operator.join("m", "192.0.2.2")
    await operator.wait(700)
    operator.node("m", spec={"subnet": OLD})
    await operator.wait(700)
    assert operator.claims()[OLD] == ("n", "Up", "192.0.2.1")
    assert operator.condition("m", "SubnetAllocated")["reason"] == "SubnetTaken"


async def test_no_claim_is_released_on_a_late_view_of_what_is_served(operator: Operator) -> None:
    """t1: Before a claim is released the operator asks the API server once more what the runtime serves."""
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(2)
    operator.node("n", servedSubnets=[NEW])
    seen = operator.api.nodes["n"]
    meta = {**seen["metadata"], "resourceVersion": operator.api.next()}
    operator.api.nodes["n"] = {**seen, "metadata": meta, "status": {**seen["status"], "servedSubnets": [OLD]}}
    await operator.wait(2)
    assert operator.phases() == {OLD: "Up", NEW: "Up"}


def grace_is_over(operator: Operator, cidr: str) -> None:
    held = next(claim for claim in operator.api.claims.values() if claim["spec"]["cidr"] == cidr)
    assert held["mesh"]["phase"] == RELEASING
    held["metadata"]["resourceVersion"] = operator.api.next()
    held["mesh"]["releasedAt"] = "2020-01-01T00:00:00Z"
    operator.world.observe(QUILTSUBNET.plural, held)


@pytest.mark.parametrize("gone", ["nothing", "QuiltNode", "both"])
async def test_no_claim_is_deleted_on_a_late_view(operator: Operator, gone: str) -> None:
    """t1: Before a claim is deleted the operator asks once more who is there and what its runtime serves."""
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(2)
    operator.node("n", spec={})
    await operator.wait(2)
    node, host = operator.api.nodes["n"], operator.api.hosts["n"]
    if gone != "nothing":
        operator.drop_node("n")
    if gone == "both":
        operator.drop_host("n")
    await operator.wait(2)
    grace_is_over(operator, NEW)
    served = {**node, "status": {**node["status"], "servedSubnets": [NEW]}}
    for kind, raw in ((operator.api.nodes, served), (operator.api.hosts, host)):
        kind["n"] = {**raw, "metadata": {**raw["metadata"], "resourceVersion": operator.api.next()}}
    await operator.wait(5)
    assert operator.phases()[NEW] == "Up"


async def test_an_agent_that_does_not_tell_what_is_served_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """t1: Of an older agent's claims none is released while nobody knows which one its pods use."""
    operator = Operator(monkeypatch)
    await operator.join("n", "192.0.2.1")
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(700)
    assert operator.phases() == {OLD: "Up", NEW: "Up"}


async def test_another_pod_cidr_under_the_same_name_waits_for_the_pods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """t1: A Node that comes back with another podCIDR keeps the claim that its pods use."""
    operator = Operator(monkeypatch, ipam={"mode": "kubernetes"})
    operator.host("n", "192.0.2.1", pod_cidrs=(OLD,))
    operator.node("n", hostIP="192.0.2.1", servedSubnets=[OLD])
    await operator.wait(2)
    operator.host("n", "192.0.2.1", pod_cidrs=(NEW,))
    await operator.wait(2)
    assert operator.phases() == {OLD: "Up", NEW: "Up"}
    operator.node("n", servedSubnets=[NEW])
    await operator.wait(2)
    assert operator.phases()[NEW] == "Up"
    assert operator.phases().get(OLD) != "Up"


async def test_a_node_that_nobody_runs_on_yet_moves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(monkeypatch)
    operator.node("n", spec={"hostIP": "192.0.2.1"})
    await operator.wait(2)
    assert operator.phases() == {OLD: "Up"}
    operator.node("n", spec={"hostIP": "192.0.2.1", "subnet": NEW})
    await operator.wait(2)
    assert operator.phases() == {OLD: "Releasing", NEW: "Up"}


async def test_a_wish_that_is_taken_back_leaves_the_node_as_it_was(operator: Operator) -> None:
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(2)
    operator.node("n", spec={})
    await operator.wait(2)
    assert operator.phases() == {OLD: "Up", NEW: "Releasing"}
    assert not operator.condition("n", "SubnetInUse")


async def test_a_dead_node_leaves_no_claim_up_whatever_was_wished(operator: Operator) -> None:
    """t2: After wishes granted, granted and refused every claim of a node that dies is withdrawn."""
    await operator.join("other", "192.0.2.9")
    operator.node("n", spec={"subnet": NEW})
    await operator.wait(2)
    operator.node("n", servedSubnets=[NEW])
    await operator.wait(2)
    operator.node("n", spec={"subnet": "10.42.2.0/24"})
    await operator.wait(2)
    assert operator.phases()[NEW] == "Up", "what the runtime serves stays in use"
    operator.verdict("n", down=True)
    await operator.wait(2)
    mine = {phase for node, phase, _ in operator.claims().values() if node == "n"}
    assert mine == {"Down", "Releasing"}


cidrs = st.sampled_from([f"10.42.{number}.0/24" for number in range(1, 6)])
claims = st.lists(
    st.tuples(cidrs, st.sampled_from([UP, DOWN, RELEASING])), max_size=4, unique_by=lambda c: c[0]
)


@given(claims, st.lists(cidrs, max_size=1), st.lists(cidrs, max_size=2), st.booleans(), st.booleans())
def test_every_claim_of_a_node_is_kept_or_released(
    held: list[tuple[str, str]], wish: list[str], served: list[str], spoke: bool, only_wanted: bool
) -> None:
    """t2: Every claim of a node ends in keep or release, and one in use is never released."""
    mine = [made_claim(cidr, "n", Mesh(phase, "192.0.2.1")) for cidr, phase in held]
    status = {"servedSubnets": served, **({"hostIP": "192.0.2.1"} if spoke else {})}
    raw = {"metadata": {"name": "n"}, "spec": {"subnet": (wish or [""])[0]}, "status": status}
    node = convert(raw, QuiltNode)
    wanted = dict.fromkeys([4], wish[0]) if wish else {}
    plan = plan_claims(node, [(4, claim) for claim in mine], [4], wanted, only_wanted=only_wanted)
    assert sorted([*plan.keep, *plan.release], key=lambda c: c.cidr) == sorted(mine, key=lambda c: c.cidr)
    kept = {claim.cidr for claim in plan.keep}
    used = {claim.cidr for claim in mine} & set(served)
    if used and not kept & set(wish) & used:
        assert used & kept, "pods have addresses of it"
    if not used and any(claim.mesh.phase != RELEASING for claim in mine) and not kept & set(wish):
        assert any(claim.mesh.phase != RELEASING for claim in plan.keep), "one in use before one given up"
    assert bool(kept) == bool(mine)
    assert bool(plan.create) == (not (kept & set(wish)) if wish else not mine and not only_wanted)

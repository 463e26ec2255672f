"""Operators that die, double or lose their API server, on a real one: claims and nodes must not notice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.controlplane import ControlPlane
from tests.support.faultyway import operator_on_its_way
from tests.support.operators import Fleet, Operator, eventually, names

# An API server that has just started may not know the policy's QuiltNetwork yet and refuses every claim; it
# looks for kinds that it does not know each half minute, and the operator tries again until then.
FRESH_API_SERVER = 75.0


def test_row_18_a_restarted_api_server_withdraws_nobody(
    plane: ControlPlane, operator: Operator, fleet: Fleet
) -> None:
    fleet.join(*names(3))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(3)), "Up")
    before = len(operator.logged("node_down"))
    plane.cluster.restart_apiserver()
    eventually(operator.ready, "ready again", 60)
    fleet.join("node-4")
    eventually(lambda: fleet.phase("node-4") == "Up", "works on", FRESH_API_SERVER)
    assert len(operator.logged("node_down")) == before


def test_killed_in_the_middle_of_joins_no_subnet_is_lost_or_given_twice(
    operator: Operator, fleet: Fleet
) -> None:
    everyone = names(90)
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(fleet.crowd, *everyone)
        for enough in (10, 40):
            eventually(lambda enough=enough: len(fleet.claims()) >= enough, "some are claimed", 60)
            operator.restart()
        joining.result()
    eventually(lambda: fleet.everyone_has_one(everyone), "everyone has one", 60)
    numbers = sorted(int(cidr.split(".")[2]) for cidr in fleet.claims())
    assert numbers == list(range(1, 91)), "lowest free first, none leaked"


def test_row_15_two_operators_that_both_believe_they_lead_do_no_harm(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    with Operator(plane, tmp_path, "other", "--namespace=default", admin=True) as other:
        eventually(other.leads, "leads as well", 60)
        both = (operator, other)
        before = {one: len(one.logged("claim_created")) for one in both}
        everyone: list[str] = []
        # The same one may be first again and again: nodes join until each was.
        while any(len(one.logged("claim_created")) == before[one] for one in both):
            assert len(everyone) < 240, "one of the two does nothing"
            more = names(len(everyone) + 80)[len(everyone) :]
            fleet.crowd(*more)
            everyone += more
            eventually(lambda: len(fleet.owners()) == len(everyone), "everyone has one", 60)  # noqa: B023
        eventually(lambda: fleet.one_each(), "nobody keeps a second one", 60)


def test_a_standby_is_ready_and_leads_at_once_when_the_leader_ends(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    with Operator(plane, tmp_path, "standby") as standby:
        eventually(lambda: standby.logged("waiting_for_leadership"), "waits")
        assert standby.ready()
        assert not standby.logged("leadership_acquired")
        assert operator.terminate() == 0
        eventually(standby.leads, "took over", 10)
        fleet.join("node-1")
        eventually(lambda: fleet.phase("node-1") == "Up", "works")
        operator.restart()
        eventually(lambda: operator.logged("waiting_for_leadership"), "waits in turn")
        assert standby.terminate() == 0
    eventually(operator.leads, "leads again", 10)


def test_row_19_watches_that_die_silently_are_opened_again_and_nobody_is_down(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.join(*names(2))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(2)), "Up")
    operator.kill()
    with operator_on_its_way(plane, tmp_path, "--watch-silence=3") as (other, way):
        eventually(lambda: way.mute() >= 6, "four kinds and two namespaces of Leases are watched")
        fleet.join("node-3")
        eventually(lambda: fleet.phase("node-3") == "Up", "a join in the silence is seen", 60)
        eventually(lambda: way.mute() >= 6, "all of them again")
        fleet.leave("node-1")
        eventually(lambda: fleet.claim_of("node-1").get("phase") != "Up", "and so is a deletion", 60)
        assert not other.logged("node_down")
    operator.restart()
    eventually(operator.leads, "leads again", 60)


def test_row_21_an_operator_that_starts_without_an_api_server_waits(
    plane: ControlPlane, operator: Operator, fleet: Fleet
) -> None:
    plane.cluster.stop_apiserver()
    try:
        operator.restart()
        eventually(lambda: operator.logged("waiting_for_api"), "waits")
        assert not operator.ready()
        assert operator.get("/healthz")[0] == 200
    finally:
        plane.cluster.start_apiserver()
        plane.cluster.wait_api()
    eventually(operator.leads, "leads", 60)
    fleet.join("node-1")
    eventually(lambda: fleet.phase("node-1") == "Up", "works", FRESH_API_SERVER)

"""Claims that go without having been given up: agents and pods go on with the last state."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from quilt_crds.names import RELEASING, UP
from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.sources import ClaimSource, NodeSource
from quilt_nodeagent.view import View
from tests.support.agent_doubles import GROUP, FakeApi, eventually
from tests.support.agent_scene import fake_rig, mesh, programmed, publish

CLAIMS, NODES = f"{GROUP}/quiltsubnets", f"{GROUP}/quiltnodes"


def claim(cidr: str, node: str, uid: str = "uid-1") -> Peer:
    return make_peer("default", cidr, node, UP, "198.18.0.2", uid)


A = claim("10.42.2.0/24", "a")
B = claim("10.42.3.0/24", "b")


def table_of(*claims: Peer) -> PeerTable:
    table = PeerTable("self", "vxlan100")
    table.replace(claims)
    return table


def routes(table: PeerTable) -> set[str]:
    return set(table.desired()["route"])


def test_a_claim_that_was_given_up_ends_at_once_and_another_is_kept() -> None:
    table = table_of(A, B)
    assert ("route", A.cidr) in table.upsert(replace(A, phase=RELEASING))
    assert not table.delete(A.cidr, A.uid)
    assert not table.delete(B.cidr, B.uid)
    assert (routes(table), table.kept) == ({B.cidr}, ["b"])
    assert table.claim(A.cidr) is None


def test_a_deletion_of_a_predecessor_keeps_nothing() -> None:
    table = table_of(A)
    assert not table.delete(A.cidr, "uid-0")
    assert table.kept == []


@pytest.mark.parametrize(
    ("new", "left"),
    [
        (claim("10.42.2.0/24", "a", "uid-2"), set()),
        (claim("10.42.2.0/24", "c", "uid-2"), set()),
        (claim("10.42.9.0/24", "a"), set()),
        (claim("10.42.2.0/23", "c"), set()),
        (claim("10.42.2.128/25", "c"), set()),
        (claim("10.42.9.0/24", "c"), {A.cidr}),
        (claim("fd42:0:0:2::/64", "a"), {A.cidr}),
    ],
)
def test_what_is_kept_ends_with_a_claim_that_replaces_it(new: Peer, left: set[str]) -> None:
    table = table_of(A)
    table.delete(A.cidr, A.uid)
    marks = table.upsert(new)
    assert routes(table) == left | {new.cidr}
    assert bool(table.kept) == bool(left)
    assert (("route", A.cidr) in marks) == (A.cidr not in left)


def test_an_empty_list_keeps_all_and_one_with_others_ends_what_left_unseen() -> None:
    table = table_of(A, B)
    assert not table.replace([])
    assert routes(table) == {A.cidr, B.cidr}
    table = table_of(A, B)
    assert ("route", A.cidr) in table.replace([B])
    assert routes(table) == {B.cidr}


def test_a_list_of_new_claims_ends_only_what_it_contradicts() -> None:
    table = table_of(A, B)
    table.delete(A.cidr)
    table.delete(B.cidr)
    table.replace([replace(A, uid="uid-2")])
    assert (routes(table), table.kept) == ({A.cidr, B.cidr}, ["b"])


def test_the_own_claim_is_lost_when_it_is_deleted() -> None:
    table = table_of(claim("10.42.1.0/24", "self"))
    table.delete("10.42.1.0/24")
    assert (table.own, table.kept) == ([], [])


def test_after_a_restart_only_what_the_api_server_has_counts() -> None:
    assert routes(table_of(B)) == {B.cidr}


@pytest.mark.parametrize(
    ("hosts", "joined", "left"),
    [
        # Its agent has not made its QuiltNode again, when all of them were deleted: others were quicker.
        ({"self", "b"}, {"self"}, {"10.42.3.0/24"}),
        ({"self", "b"}, {"self", "a"}, {"10.42.2.0/24", "10.42.3.0/24"}),
        ({"self", "b"}, set(), {"10.42.3.0/24"}),
        ({"self"}, {"self"}, set()),
    ],
)
async def test_what_is_kept_ends_when_neither_node_nor_quiltnode_is_there(
    hosts: set[str], joined: set[str], left: set[str]
) -> None:
    api, table = FakeApi(), table_of(A, B)
    for name in hosts:
        api.put("/api/v1/nodes", {"metadata": {"name": name}})
    for name in joined:
        api.put(NODES, {"metadata": {"name": name}})
    table.delete(A.cidr)
    table.delete(B.cidr)
    async with api.serve() as url, Client(Access(url), agent="a") as client:
        claims = ClaimSource(table, "default", lambda marks: None)
        view = View(FakeKernel(), table, "self", "default", "")
        source = NodeSource(client, "self", view, claims, lambda item: None)
        source._absent = "self" not in joined
        await source._look_at_kept()
    assert routes(table) == left


async def test_with_their_crds_gone_agents_go_on_and_follow_what_comes_later(tmp_path: Path) -> None:
    async with fake_rig(tmp_path) as rig:
        await mesh(rig, 2, 3)
        for name in list(rig.api.objects[CLAIMS]):
            rig.api.delete(CLAIMS, name)
        await eventually(lambda: rig.agent.table.kept == ["n2", "n3"])
        rig.api.refuse = 404
        rig.api.cut()
        failed = rig.api.count("GET", "quiltsubnets")
        await eventually(lambda: rig.api.count("GET", "quiltsubnets") > failed + 1)
        rig.agent.reconciler.resync("test")
        await eventually(lambda: rig.counter("resyncs_total", cause="test") == 1)
        assert programmed(rig, 2, 3)
        rig.api.refuse = 0
        rig.api.expire()
        rig.api.cut()
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        publish(rig, 3, 4)
        await eventually(lambda: programmed(rig, 2, 3, 4))
        rig.api.unclaim("10.42.3.0/24")
        await eventually(lambda: programmed(rig, 2, 4))
        rig.api.claim("10.42.5.0/24", "n2", "198.18.0.2")
        await eventually(lambda: "10.42.2.0/24" not in rig.agent.table.desired()["route"])

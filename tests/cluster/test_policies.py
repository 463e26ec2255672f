"""Network policies on three nodes: on and off under traffic, standing connections, stolen tokens, jobs.

QUILT_POLICY_JOBS is how many jobs start, 10 where it is not set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.commands import document, quiltctl
from tests.support.conversations import conversing
from tests.support.mesh import Mesh, Pod, until
from tests.support.policy_cluster import (
    Site,
    answered,
    everybody_but,
    gauge,
    policy,
    selecting,
    site,
    these,
    upgrade,
)
from tests.support.policy_jobs import JOBS, run_jobs
from tests.support.policy_tokens import address_of, agent, forging, granted, peers
from tests.support.rights import documented

# The number of an address that no pod has yet: they are given out in order.
UNUSED = 200
STARTS = int(os.environ.get("QUILT_POLICY_JOBS", "10"))


@pytest.fixture(scope="module")
def world(mesh: Mesh) -> Iterator[Site]:
    with site(mesh) as made:
        yield made


def test_an_upgrade_to_policies_and_back_loses_no_packet_that_none_forbids(mesh: Mesh, world: Site) -> None:
    """A policy that was there before is enforced from then on, and one that comes later."""
    allowed = [*world.lines(world.near, world.far), *world.lines(world.far, ways=("dial",))]
    forbidden = world.lines(world.other)
    spec = {"podSelector": selecting(world.web), "ingress": [{"from": [everybody_but(world.other)]}]}
    with conversing(mesh, [*allowed, *forbidden]) as conversations:
        with policy(mesh, "but-one", **spec):
            upgrade(mesh, enforced=True)
            conversations.stop(forbidden)
            conversations.continue_(allowed)
        conversations.continue_([*allowed, *forbidden])
        with policy(mesh, "but-one-again", **spec):
            conversations.stop(forbidden)
            conversations.continue_(allowed)
            upgrade(mesh, enforced=False)
            conversations.continue_([*allowed, *forbidden])
        conversations.complete(allowed)
    assert granted(mesh, agent(mesh, world.far.node)) == documented(endpoints=True, policy=False)
    until("no QuiltPeers are left", lambda: not mesh.get("quiltpeers")["items"], timeout=150, every=1)


def test_without_policies_a_stolen_token_names_no_address_of_another_node(mesh: Mesh, world: Site) -> None:
    thief = agent(mesh, world.far.node)
    strange = address_of(mesh, world.web.node, UNUSED)
    with forging(mesh, thief, world.far.node) as publish:

        def looked_up() -> str:
            publish({world.far: strange})
            return str(document(quiltctl(mesh, "ip", strange, "-o", "json"))["what"])

        assert looked_up() == "free", "no node is believed about addresses of another's subnet"


@pytest.fixture(scope="module")
def enforced(mesh: Mesh, world: Site) -> Iterator[Site]:
    """The pods on a mesh with policies."""
    upgrade(mesh, enforced=True)
    yield world
    upgrade(mesh, enforced=False)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("where", ["near", "far"])
def test_a_policy_stops_the_standing_connections_that_it_forbids(
    mesh: Mesh, enforced: Site, direction: str, where: str
) -> None:
    """By TCP and UDP, to a pod and through its Service; the others of the same two nodes lose nothing."""
    cut: Pod = getattr(enforced, where)
    others = [one for one in enforced.clients if one != cut]
    forbidden, allowed = enforced.lines(cut), enforced.lines(*others)
    held, peer, side = (enforced.web, cut, "from") if direction == "ingress" else (cut, enforced.web, "to")
    spec = {"podSelector": selecting(held), direction: [{side: [everybody_but(peer)]}]}
    with conversing(mesh, [*forbidden, *allowed]) as conversations:
        with policy(mesh, f"no-{direction}", policyTypes=[direction.title()], **spec):
            stopped = conversations.stop(forbidden)
            conversations.continue_(allowed)
            applied = gauge(mesh, held.node, "last_change_timestamp_seconds")
        for line, report in stopped.items():
            print(f"{line.pod.name} {line.name}: last answer {1000 * (report.last - applied):+.0f} ms")
        conversations.continue_([*forbidden, *allowed])
        conversations.complete(allowed)


def test_the_first_connection_of_a_job_needs_no_second_syn(mesh: Mesh, enforced: Site) -> None:
    """kube-router #1652: jobs no longer sleep before their first connection, on no node."""
    with policy(mesh, "jobs-alone", podSelector=selecting(enforced.web), ingress=[{"from": [JOBS]}]):
        until("others are held off", lambda: not answered(mesh, enforced.near, enforced.web), timeout=60)
        counts = run_jobs(mesh, STARTS, enforced.web)
    late = {name: count for name, count in counts.items() if count}
    print(f"{STARTS - len(late)} of {STARTS} starts without a retransmitted SYN; the others: {late}")
    assert len(late) <= max(1, STARTS / 100)


def test_with_policies_a_stolen_token_makes_nobody_a_peer_but_pods_of_its_own_node(
    mesh: Mesh, enforced: Site
) -> None:
    """No address outside of its node's subnets, and no pod of another node: the thief's are left out."""
    thief = agent(mesh, enforced.far.node)
    assert granted(mesh, thief) == documented(endpoints=True, policy=True)
    strange, unused = (address_of(mesh, pod.node, UNUSED) for pod in (enforced.web, enforced.far))
    true = {pod.ip for pod in enforced.clients}
    rule = {"from": [these(*enforced.clients)]}
    with (
        policy(mesh, "clients", podSelector=selecting(enforced.web), ingress=[rule]),
        forging(mesh, thief, enforced.far.node) as publish,
    ):
        until("all are peers", lambda: peers(mesh) == true, timeout=60)

        def left_out() -> bool:
            publish({enforced.far: strange, enforced.near: unused})
            found = peers(mesh)
            assert found <= true, found
            return found == true - {enforced.far.ip}

        until("the thief's own pod has lost its address", left_out, timeout=60)
        assert answered(mesh, enforced.near, enforced.web)
        explained = quiltctl(
            mesh, "policy", "explain", enforced.web.name, f"--from={enforced.near.ip}", "-o", "json"
        )
        assert document(explained)["ingress"]["packets"] > 0, "the kernel counted the rule that explain names"
        publish({})
        until("all are peers again", lambda: peers(mesh) == true, timeout=60)

"""Who asks for too much pays alone: made-up sources, wrong ways and floods of groups hold up nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quilt_multicast.core.forwarding import Forwarding, Topology
from quilt_multicast.core.members import Limits, LocalMembers, RemoteMembers
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE, Forward
from quilt_nodeagent.core.peer import make_peer

PEER = make_peer("default", "10.42.2.0/24", "n2", "Up", "198.18.0.2")
GROUP, OTHER = "239.1.1.1", "239.9.9.9"
HERE, THERE = "10.42.1.7", "10.42.2.7"


def forwarding() -> Forwarding:
    """Of a node with a member here and one at its only peer, of GROUP."""
    limits, local, remote = Limits(), LocalMembers(Limits()), RemoteMembers()
    local.join(9, GROUP)
    remote.change(PEER.vtep, [GROUP], ())
    made = Forwarding(local, remote, limits)
    made.topology = Topology(["10.42.1.0/24"], [PEER])
    return made


def made_up(number: int) -> str:
    return f"172.16.{number >> 8 & 255}.{number & 255}"


def test_made_up_sources_do_not_use_up_the_nodes_flows() -> None:
    """s6: A pod that makes up sources fills its own budget; flows of other pods and of peers are taken in."""
    table = forwarding()
    for number in range(9000):
        table.add(made_up(number), OTHER, POD_SIDE)
    assert table.add(HERE, GROUP, POD_SIDE), "an honest pod's flow"
    assert table.add(THERE, GROUP, MESH_SIDE), "a peer's pod's flow"
    wanted = table.desired().flows
    assert wanted[HERE, GROUP] == Forward(POD_SIDE, frozenset({MESH_SIDE}))
    assert wanted[THERE, GROUP] == Forward(MESH_SIDE, frozenset({POD_SIDE}))
    assert len(wanted) <= 2048, "what is dropped uses a bounded part of the kernel's table"


def test_a_source_forged_by_the_wrong_way_neither_blocks_the_real_one_nor_counts_for_it() -> None:
    """s6: A pod that forges a peer's source does not use up that source's flows nor block its stream."""
    table = forwarding()
    for number in range(300):
        table.add(THERE, f"239.2.{number >> 8}.{number & 255}", POD_SIDE)
    table.add(THERE, GROUP, POD_SIDE)
    assert table.desired().flows.get((THERE, GROUP)) == Forward(MESH_SIDE, frozenset({POD_SIDE}))
    assert table.add(THERE, "239.3.3.3", MESH_SIDE)


def test_what_is_over_a_limit_is_dropped_by_the_kernel_and_not_asked_about_again() -> None:
    """s6: What a pod sends to more groups than it may is dropped by the kernel, which asks once."""
    table = forwarding()
    groups = [f"239.4.{number >> 8}.{number & 255}" for number in range(300)]
    taken = [table.add(HERE, group, POD_SIDE) for group in groups]
    assert sum(taken) == Limits().flows_per_pod
    wanted = table.desired().flows
    refused = [group for group, may in zip(groups, taken, strict=True) if not may]
    assert {wanted.get((HERE, group)) for group in refused} == {Forward(POD_SIDE)}


flows = st.tuples(
    st.sampled_from([made_up(1), made_up(2), HERE, THERE, "10.42.3.3"]),
    st.integers(0, 600),
    st.sampled_from([POD_SIDE, MESH_SIDE]),
)


@given(st.lists(flows, max_size=20), st.integers(0, 12))
def test_whatever_came_before_an_honest_flow_is_taken_in(
    came: list[tuple[str, int, int]], per_pod: int
) -> None:
    """s6: Whatever others sent before, and from whichever addresses, a pod within its budget is served."""
    limits = Limits(flows_per_pod=per_pod + 1, flows_per_node=2 * (per_pod + 1) + 1)
    table = forwarding()
    table.limits = limits
    for repeat in range(40):
        for source, number, vif in came:
            table.add(source, f"239.{repeat + 5}.{number >> 8}.{number & 255}", vif)
    fresh = "10.42.1.99"
    assert table.add(fresh, GROUP, POD_SIDE)
    assert table.desired([GROUP]).flows[fresh, GROUP] == Forward(POD_SIDE, frozenset({MESH_SIDE}))

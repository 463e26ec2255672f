"""Direct routing: peers on the same link are reached without encapsulation, as the host's own routes tell."""

from __future__ import annotations

from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.kernel.observe import read_fdb
from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_scene import device, publish, routed
from tests.support.namespaces import Namespace

NEAR, FAR = "10.42.2.0/24", "10.42.3.0/24"
BY_LINK, BY_OVERLAY = Hop("198.18.0.2", "eth0"), Hop("10.42.2.0", "vxlan100")
FAR_HOP = Hop("10.42.3.0", "vxlan100")


async def start(rig: Rig, *, direct: bool = True) -> None:
    """An agent with one peer on its link and one behind a router."""
    rig.network(vxlan={"directRouting": direct})
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    rig.api.claim(NEAR, "n2", "198.18.0.2")
    rig.api.claim(FAR, "n3", "198.18.7.3")
    await rig.start()
    await rig.ready()


async def becomes(rig: Rig, near: Hop) -> None:
    await eventually(lambda: routed(rig) == {NEAR: near, FAR: FAR_HOP})


async def test_only_a_peer_on_the_link_is_routed_directly(rig: Rig) -> None:
    await start(rig)
    assert routed(rig) == {NEAR: BY_LINK, FAR: FAR_HOP}
    # What the overlay needs is there all the same: a peer that leaves the link is reached at once.
    assert len(read_fdb(rig.kernel, device(rig).index)) == 2


async def test_a_network_that_does_not_ask_for_it_encapsulates_all(rig: Rig) -> None:
    await start(rig, direct=False)
    assert routed(rig) == {NEAR: BY_OVERLAY, FAR: FAR_HOP}
    rig.network(vxlan={"directRouting": True})
    await becomes(rig, BY_LINK)
    rig.network()
    await becomes(rig, BY_OVERLAY)


async def test_it_follows_addresses_and_routes_of_the_host(rig: Rig, netns: Namespace) -> None:
    await start(rig)
    # A shorter prefix puts the far peer on the link, a host route behind a router removes the near one from
    # it.
    netns.run("ip", "address", "add", "198.18.0.9/16", "dev", "eth0")
    await eventually(lambda: routed(rig).get(FAR) == Hop("198.18.7.3", "eth0"))
    netns.run("ip", "address", "del", "198.18.0.9/16", "dev", "eth0")
    await becomes(rig, BY_LINK)
    netns.run("ip", "route", "add", "198.18.0.2/32", "via", "198.18.0.254", "dev", "eth0")
    await becomes(rig, BY_OVERLAY)
    netns.run("ip", "route", "del", "198.18.0.2/32")
    await becomes(rig, BY_LINK)


async def test_a_peer_that_moves_off_the_link_is_followed(rig: Rig) -> None:
    await start(rig)
    rig.api.claim(NEAR, "n2", "198.18.9.2")
    await becomes(rig, BY_OVERLAY)
    rig.api.claim(NEAR, "n2", "198.18.0.2")
    await becomes(rig, BY_LINK)
    publish(rig, 4)
    await eventually(lambda: routed(rig).get("10.42.4.0/24") == Hop("198.18.0.4", "eth0"))


async def test_a_link_that_flaps_leaves_no_peer_without_a_route(rig: Rig, netns: Namespace) -> None:
    await start(rig)
    for _ in range(3):
        netns.run("sh", "-c", "ip link set eth0 down; ip link set eth0 up")
        await becomes(rig, BY_LINK)
    netns.run("ip", "link", "set", "eth0", "down")
    await becomes(rig, BY_OVERLAY)
    netns.run("ip", "link", "set", "eth0", "up")
    await becomes(rig, BY_LINK)


async def test_drift_of_direct_routes_is_repaired(rig: Rig, netns: Namespace) -> None:
    await start(rig)
    for command in (
        "ip route del 10.42.2.0/24",
        "ip route replace 10.42.2.0/24 via 10.42.3.0 dev vxlan100 onlink proto 81",
        "ip nexthop flush proto 81",
        "ip nexthop replace id {id} via 198.18.0.77 dev eth0 proto 81",
    ):
        found = next(n.id for n in rig.kernel.nexthops(protocol=81) if n.gateway == "198.18.0.2")
        netns.run(*command.format(id=found).split())
        await eventually(lambda: rig.kernel.route_get("10.42.2.7") is not None)
        await becomes(rig, BY_LINK)

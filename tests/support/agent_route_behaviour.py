"""Routes of a node alone, as its QuiltNode says; run on both kernels, like `agent_behaviour`."""

from __future__ import annotations

from typing import Any

from quilt_netlink import Delete, Link, Put, Route
from tests.support.agent_doubles import GROUP, Rig, eventually

GUEST = "02:00:00:00:00:22"
BEHIND = "10.60.0.0/24"


def wish(rig: Rig, *routes: dict[str, str]) -> None:
    """Write the QuiltNode's spec, as an administrator does."""
    held: dict[str, Any] = rig.api.objects.get(f"{GROUP}/quiltnodes", {}).get("self", {})
    rig.api.put(
        f"{GROUP}/quiltnodes", {**held, "metadata": {"name": "self"}, "spec": {"routes": list(routes)}}
    )


def bridge(rig: Rig, name: str = "br0", *, guest: bool = True) -> None:
    """Make a bridge, with a port that has the guest's MAC."""
    rig.kernel.run(Put(Link(name, kind="bridge", up=True)))
    if guest:
        join(rig, name)


def join(rig: Rig, name: str) -> None:
    made = rig.kernel.link(name)
    assert made is not None
    peer = Link("guest1", up=True)
    rig.kernel.run(Put(Link("guest0", kind="veth", mac=GUEST, up=True, master=made.index, peer=peer)))


def leave(rig: Rig, name: str) -> None:
    """Delete the bridge, and the port with it."""
    rig.kernel.run(Delete(Link("guest0")))
    rig.kernel.run(Delete(Link(name)))


def leads(rig: Rig, name: str) -> bool:
    """Whether the route is there, over this interface."""
    link = rig.kernel.link(name)
    found = [route.ifindex for route in rig.kernel.routes(protocol=82) if route.prefix == BEHIND]
    return link is not None and found == [link.index]


async def ready(rig: Rig) -> None:
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    await rig.start()
    await rig.ready()


class NodeRouteBehaviour:
    async def test_a_cold_start_finds_the_bridge_by_its_member(self, rig: Rig) -> None:
        bridge(rig, "br1", guest=False)
        bridge(rig)
        wish(rig, {"destination": BEHIND, "bridgeMember": GUEST})
        await ready(rig)
        await eventually(lambda: leads(rig, "br0"))
        await rig.stop()
        assert leads(rig, "br0"), "a restart disturbs nothing"
        await rig.start()
        await rig.ready()
        assert leads(rig, "br0")

    async def test_a_bridge_that_learns_late_is_waited_for(self, rig: Rig) -> None:
        bridge(rig, guest=False)
        await ready(rig)
        wish(rig, {"destination": BEHIND, "bridgeMember": GUEST})
        await eventually(lambda: rig.agent.node_routes.missing == 1)
        join(rig, "br0")
        await eventually(lambda: leads(rig, "br0"))

    async def test_a_runtime_that_comes_back_is_sent_all_again(self, rig: Rig) -> None:
        bridge(rig)
        await ready(rig)
        wish(rig, {"destination": BEHIND, "interface": "br0"})
        await eventually(lambda: leads(rig, "br0"))
        await rig.runtime.stop()
        (route,) = (route for route in rig.kernel.routes(protocol=82))
        rig.kernel.run(Delete(route))
        await eventually(lambda: rig.agent.node_routes.problems)
        await rig.runtime.start()
        await eventually(lambda: leads(rig, "br0") and not rig.agent.node_routes.problems)

    async def test_an_interface_that_comes_again_gets_its_route_back(self, rig: Rig) -> None:
        bridge(rig)
        await ready(rig)
        wish(rig, {"destination": BEHIND, "bridgeMember": GUEST})
        await eventually(lambda: leads(rig, "br0"))
        leave(rig, "br0")
        bridge(rig, "br2")
        await eventually(lambda: leads(rig, "br2"))

    async def test_a_wishs_route_is_removed_with_it_and_no_others(self, rig: Rig) -> None:
        bridge(rig)
        await ready(rig)
        link = rig.kernel.link("br0")
        assert link is not None
        rig.kernel.run(Put(Route("10.61.0.0/24", 82, ifindex=link.index, scope=253)))
        wish(rig, {"destination": BEHIND, "interface": "br0"})
        await eventually(lambda: leads(rig, "br0"))
        wish(rig)
        await eventually(lambda: not leads(rig, "br0"))
        assert {route.prefix for route in rig.kernel.routes(protocol=82)} == {"10.61.0.0/24"}

    async def test_what_cannot_be_is_reported_and_harms_nobody(self, rig: Rig) -> None:
        bridge(rig)
        await ready(rig)
        wish(
            rig,
            {"destination": "10.42.9.0/24", "interface": "br0"},
            {"destination": BEHIND, "interface": "br0"},
        )
        await eventually(lambda: leads(rig, "br0"))
        await eventually(lambda: "inside the cluster's 10.42.0.0/16" in str(rig.condition("DataplaneInSync")))
        assert rig.condition("DataplaneInSync")["status"] == "True"
        assert rig.agent.report.unready() == []

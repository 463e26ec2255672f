"""External neighbors: each command's success and errors, what Hellos change, election, the mesh's peers."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from quilt_pim.core.events import PIM_HELLO, PimNeighborChange, Source
from quilt_pim.core.neighbors import (
    MAX_EXTERNAL,
    External,
    NeighborTable,
    elect,
)
from quilt_pim.core.pim import HOLDTIME_FOREVER, Hello
from quilt_pim.core.validate import ControlError
from tests.support.control_doubles import Client, Running, addresses, serving

BABEL = Source(external=True, tag="babel")


def up(address: str, source: Source) -> PimNeighborChange:
    return PimNeighborChange("eth0", address, "Up", source)


def down(address: str, source: Source) -> PimNeighborChange:
    return PimNeighborChange("eth0", address, "Down", source)


class TestTable:
    def test_an_injected_neighbor_is_valid_at_once_and_never_expires(self) -> None:
        table = NeighborTable()
        assert table.add("eth0", "10.0.0.2", External(7, "babel")) == [up("10.0.0.2", BABEL)]
        assert table.next_expiry() == inf
        assert table.expire(1e12) == []
        held = table.get("eth0", "10.0.0.2")
        assert held is not None
        assert (held.source, held.dr_priority) == (BABEL, 7)
        assert table.get("eth1", "10.0.0.2") is None

    def test_a_hello_turns_its_source_and_removing_the_entry_leaves_the_hello(self) -> None:
        table = NeighborTable()
        table.add("eth0", "10.0.0.2", External(7, "babel"))
        assert table.receive("eth0", "10.0.0.2", Hello(105, 3, 99), 1000.0) == [up("10.0.0.2", PIM_HELLO)]
        assert table.remove("eth0", "10.0.0.2") == []
        held = table.get("eth0", "10.0.0.2")
        assert held is not None
        assert (held.source, held.dr_priority, held.external) == (PIM_HELLO, 3, None)
        assert table.expire(1104.9) == []
        assert table.expire(1105.0) == [down("10.0.0.2", PIM_HELLO)]

    def test_when_the_hellos_of_an_external_neighbor_stop_it_is_external_again(self) -> None:
        table = NeighborTable()
        table.add("eth0", "10.0.0.2", External(7, "babel"))
        table.receive("eth0", "10.0.0.2", Hello(), 0.0)
        assert table.expire(105.0) == [up("10.0.0.2", BABEL)]
        assert table.expire(1e12) == []

    def test_adding_over_a_learned_one_keeps_the_hello_state(self) -> None:
        table = NeighborTable()
        table.receive("eth0", "10.0.0.2", Hello(105, 3, 99), 0.0)
        assert table.add("eth0", "10.0.0.2", External(200, "babel")) == []
        held = table.get("eth0", "10.0.0.2")
        assert held is not None
        assert held.hello is not None
        assert (held.source, held.dr_priority, held.expires) == (PIM_HELLO, 3, 105.0)

    def test_a_goodbye_ends_the_hello_state_and_an_endless_holdtime_never_does(self) -> None:
        table = NeighborTable()
        table.receive("eth0", "10.0.0.2", Hello(HOLDTIME_FOREVER), 0.0)
        assert table.expire(1e12) == []
        assert table.receive("eth0", "10.0.0.2", Hello(0), 1.0) == [down("10.0.0.2", PIM_HELLO)]
        assert table.receive("eth0", "10.0.0.3", Hello(0), 1.0) == []

    def test_there_is_a_bound(self) -> None:
        table = NeighborTable()
        for number in range(MAX_EXTERNAL):
            table.add("eth0", f"10.1.{number >> 8}.{number & 255}", External())
        with pytest.raises(ControlError, match="4096 external neighbors already"):
            table.add("eth0", "10.2.0.1", External())
        table.add("eth0", "10.1.0.1", External(9))  # Changing one is no new one.
        assert table.clear()[0] == MAX_EXTERNAL
        table.add("eth0", "10.2.0.1", External())

    def test_peers_of_the_mesh_come_and_go_with_it_and_belong_to_it_alone(self) -> None:
        table = NeighborTable()
        node_b = Source(external=True, tag="quilt-mesh/b")
        assert table.set_mesh("eth0", [("b", "10.42.2.0"), ("c", "10.42.3.0")]) != []
        assert table.set_mesh("eth0", [("b", "10.42.2.0"), ("c", "10.42.3.0")]) == []
        with pytest.raises(ControlError, match="is a peer of the mesh"):
            table.remove("eth0", "10.42.2.0")
        assert table.clear() == (0, [])
        assert table.set_mesh("eth0", [("c", "10.42.3.0")]) == [down("10.42.2.0", node_b)]


class TestElection:
    @pytest.mark.parametrize(
        ("standing", "elected"),
        [
            ([], None),
            ([("10.0.0.2", 1), ("10.0.0.9", 1)], "10.0.0.9"),
            ([("10.0.0.2", 2), ("10.0.0.9", 1)], "10.0.0.2"),
            ([("9.0.0.2", 1), ("10.0.0.1", 1)], "10.0.0.1"),  # By number, not by spelling.
            ([("10.0.0.2", 100), ("10.0.0.9", None)], "10.0.0.9"),  # RFC 7761 §4.3.2.
        ],
    )
    def test_highest_priority_then_highest_address(
        self, standing: list[tuple[str, int | None]], elected: str | None
    ) -> None:
        assert elect(standing) == elected


async def add(client: Client, address: str = "10.0.0.2", interface: str = "lo", **more: object) -> str:
    return await client.refused(
        "AddExternalNeighbor", neighbor={"address": address, "interface": interface, **more}
    )


async def test_add_list_and_remove(running: Running, client: Client, multicast_interface: str) -> None:
    given = {"address": "10.0.0.2", "interface": multicast_interface, "dr_priority": 10, "tag": "babel"}
    reply = await client.ok("AddExternalNeighbor", neighbor=given)
    wanted = {
        **given,
        "source": {"External": {"tag": "babel"}},
        "is_dr": True,
        "expires_in_secs": None,
        "generation_id": None,
    }
    assert reply["neighbor"] == wanted
    # The fields may be beside the command too, and the default priority is 1.
    flat = await client.ok("AddExternalNeighbor", address="10.0.0.3", interface=multicast_interface)
    assert (flat["neighbor"]["dr_priority"], flat["neighbor"]["source"]) == (1, {"External": {"tag": None}})
    listed = await client.ok("ListExternalNeighbors")
    assert addresses(listed["neighbors"]) == ["10.0.0.2", "10.0.0.3"]
    assert [item["is_dr"] for item in listed["neighbors"]] == [True, False]
    await client.ok("RemoveExternalNeighbor", address="10.0.0.2", interface=multicast_interface)
    assert addresses((await client.ok("ListExternalNeighbors"))["neighbors"]) == ["10.0.0.3"]
    assert (await client.ok("ClearExternalNeighbors"))["removed"] == 1
    assert (await client.ok("ListExternalNeighbors"))["neighbors"] == []


async def test_clear_one_interface(running: Running, client: Client) -> None:
    for interface, address in (("eth8", "10.0.0.2"), ("eth8", "10.0.0.3"), ("eth9", "10.0.0.2")):
        running.plane.neighbors.add(interface, address, External())
    assert (await client.ok("ClearExternalNeighbors", interface="eth8"))["removed"] == 2
    left = (await client.ok("ListExternalNeighbors"))["neighbors"]
    assert [(item["interface"], item["address"]) for item in left] == [("eth9", "10.0.0.2")]


async def test_errors_of_add(client: Client, multicast_interface: str) -> None:
    # Loopback is the one interface that every machine has and that carries no multicast.
    assert "Interface 'lo' has multicast off" in await add(client)
    assert "There is no interface 'nowhere0'" in await add(client, interface="nowhere0")
    assert "address: '10.0.0' is not an IPv4 address" in await add(client, "10.0.0")
    assert "is not the address of a host" in await add(client, "239.1.1.1")
    assert "is not the address of a host" in await add(client, "0.0.0.0")
    assert "is not an IPv4 address" in await add(client, "fd00::1")
    assert "is not an interface name" in await add(client, interface="../etc/passwd")
    assert "is not an interface name" in await add(client, interface="")
    assert "is out of range" in await add(client, dr_priority=-1)
    assert "is out of range" in await add(client, dr_priority=1 << 32)
    assert "at most 128 printable characters" in await add(client, tag="x" * 129)
    assert "choose another" in await add(client, tag="quilt-mesh/b")
    assert "missing required field `interface`" in await client.refused(
        "AddExternalNeighbor", neighbor={"address": "10.0.0.2"}
    )
    assert "unknown field `adress`" in await client.refused(
        "AddExternalNeighbor", neighbor={"adress": "10.0.0.2", "interface": "lo"}
    )
    assert "Expected `int | null`, got `str`" in await add(client, dr_priority="high")
    assert (await client.ok("ListExternalNeighbors"))["neighbors"] == []


async def test_errors_of_remove_and_clear(running: Running, client: Client) -> None:
    refused = await client.refused("RemoveExternalNeighbor", address="10.0.0.2", interface="eth0")
    assert refused.startswith("There is no neighbor 10.0.0.2 on eth0")
    running.plane.neighbors.receive("eth0", "10.0.0.2", Hello(), 1e12)
    refused = await client.refused("RemoveExternalNeighbor", address="10.0.0.2", interface="eth0")
    assert "is not external: it is learned from its own Hellos" in refused
    refused = await client.refused("ClearExternalNeighbors", interface="a/b")
    assert "is not an interface name" in refused


async def test_external_neighbors_can_be_switched_off(tmp_path: Path) -> None:
    async with serving(tmp_path, external_neighbors_enabled=False) as running:
        client = await running.client()
        assert "External neighbors are off on this node" in await add(client)


async def test_peers_of_the_mesh_are_listed_on_the_vxlan_device(running: Running, client: Client) -> None:
    running.plane.set_mesh([("node-b", "10.42.2.0"), ("node-b6", "fd42::")])
    [only] = (await client.ok("ListExternalNeighbors"))["neighbors"]
    assert only["source"] == {"External": {"tag": "quilt-mesh/node-b"}}
    assert (only["interface"], only["address"], only["dr_priority"]) == ("vxlan100", "10.42.2.0", 1)
    refused = await client.refused("RemoveExternalNeighbor", address="10.42.2.0", interface="vxlan100")
    assert "it is removed when its node is Down" in refused
    running.plane.set_mesh([])
    assert (await client.ok("ListExternalNeighbors"))["neighbors"] == []


async def test_neighbors_and_designated_routers_are_shown(running: Running, client: Client) -> None:
    table = running.plane.neighbors
    table.add("eth0", "10.0.0.2", External(10))
    table.add("eth0", "10.0.0.3", External(5))
    table.receive("eth0", "10.0.0.4", Hello(105, 7, 1), 1e12)
    reply = await client.ok("GetPimNeighbors")
    assert [(n["address"], n["is_dr"]) for n in reply["neighbors"]] == [
        ("10.0.0.2", True),
        ("10.0.0.3", False),
        ("10.0.0.4", False),
    ]
    assert reply["neighbors"][2]["source"] == "PimHello"
    assert reply["neighbors"][2]["expires_in_secs"] > 0
    [eth0] = reply["interfaces"]
    assert (eth0["interface"], eth0["designated_router"], eth0["pim"]) == ("eth0", "10.0.0.2", False)

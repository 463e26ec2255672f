"""What a node makes of the network's choice of an underlay, or reports where it cannot; run on both kernels.

Its eth0 has the Node's InternalIP, 198.18.0.1; other interfaces are bridges, which every kernel has.
"""

from __future__ import annotations

from typing import Any

import pytest

from quilt_netlink import Address, Delete, Link, Put
from tests.support.agent_doubles import GROUP, Rig, eventually
from tests.support.agent_scene import device, mesh, programmed, publish


def second_nic(rig: Rig, *addresses: str, name: str = "eth1") -> Link:
    """Give the host another interface with these addresses."""
    rig.kernel.ensure(Link(name, kind="bridge", up=True))
    link = rig.kernel.link(name)
    assert link is not None
    for address in addresses:
        rig.kernel.run(Put(Address(link.index, address)))
    return link


def choose(rig: Rig, **underlay: Any) -> None:
    rig.network(underlay=underlay)


def local(rig: Rig) -> str:
    """The host address that the overlay's device has; empty without a device."""
    link = rig.kernel.link("vxlan100")
    return link.vxlan.local if link is not None and link.vxlan is not None else ""


def message(rig: Rig) -> str:
    return str(rig.condition("DataplaneInSync").get("message", ""))


async def begin(rig: Rig, **underlay: Any) -> None:
    """A node that is new, in a mesh with this choice."""
    choose(rig, **underlay)
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    publish(rig, 2)
    await rig.start()


class UnderlayBehaviour:
    @pytest.mark.kernel
    @pytest.mark.parametrize(
        ("underlay", "reason"),
        [
            ({"interface": "eth9,eth*1"}, "underlay.interface eth9,eth*1, on eth1"),
            ({"cidrs": ["2001:db8::/32", "198.18.7.0/24"]}, "198.18.7.0/24, on eth1"),
        ],
    )
    async def test_of_two_nics_the_chosen_one_is_used(
        self, rig: Rig, underlay: dict[str, Any], reason: str
    ) -> None:
        second_nic(rig, "198.18.7.1/24")
        await begin(rig, **underlay)
        await rig.ready()
        assert local(rig) == "198.18.7.1"
        assert programmed(rig, 2)
        await eventually(lambda: rig.status().get("hostIP") == "198.18.7.1")
        await eventually(lambda: reason in message(rig))

    async def test_a_changed_choice_is_followed(self, rig: Rig) -> None:
        second_nic(rig, "198.18.7.1/24")
        await mesh(rig, 2)
        index = device(rig).index
        choose(rig, cidrs=["198.18.7.0/24"])
        await eventually(lambda: local(rig) == "198.18.7.1" and rig.status().get("hostIP") == "198.18.7.1")
        choose(rig)
        await eventually(lambda: local(rig) == "198.18.0.1" and rig.status().get("hostIP") == "198.18.0.1")
        await eventually(lambda: programmed(rig, 2))
        assert device(rig).index == index

    async def test_what_is_set_for_one_node_counts_before_the_choice(self, rig: Rig) -> None:
        second_nic(rig, "198.18.7.1/24", "198.18.8.1/24")
        await mesh(rig, 2)
        choose(rig, cidrs=["198.18.7.0/24"])
        await eventually(lambda: local(rig) == "198.18.7.1")
        nodes = f"{GROUP}/quiltnodes"
        rig.api.put(nodes, {**rig.api.objects[nodes]["self"], "spec": {"hostIP": "198.18.8.1"}})
        await eventually(lambda: local(rig) == "198.18.8.1")

    async def test_a_new_node_waits_for_an_address_that_fits(self, rig: Rig) -> None:
        await begin(rig, interface="eth9")
        await eventually(lambda: "underlay.interface eth9; it has 198.18.0.1 (eth0)." in message(rig))
        assert rig.condition("DataplaneInSync")["status"] == "False"
        assert rig.status()["hostIP"] == ""
        assert rig.kernel.link("vxlan100") is None
        second_nic(rig, "198.18.7.1/24", name="eth9")
        await rig.ready()
        assert local(rig) == "198.18.7.1"

    @pytest.mark.parametrize("underlay", [{"interface": "eth9"}, {"cidrs": ["2001:db8::/32"]}])
    async def test_a_node_that_runs_stays_where_it_is_and_says_why(
        self, rig: Rig, underlay: dict[str, Any]
    ) -> None:
        await mesh(rig, 2)
        await eventually(lambda: rig.status().get("hostIP") == "198.18.0.1")
        choose(rig, **underlay)
        await eventually(lambda: "No address of this host fits underlay." in message(rig))
        assert rig.condition("DataplaneInSync")["status"] == "False"
        assert rig.agent.report.unready()
        publish(rig, 3)
        await eventually(lambda: programmed(rig, 2, 3))
        await rig.stop()
        await rig.start()
        publish(rig, 4)
        await eventually(lambda: programmed(rig, 2, 3, 4))
        assert local(rig) == rig.status()["hostIP"] == "198.18.0.1"
        choose(rig, cidrs=["198.18.0.0/24"])
        await rig.ready()

    async def test_between_two_addresses_nobody_guesses(self, rig: Rig) -> None:
        link = second_nic(rig, "198.18.7.1/25")
        second_nic(rig, "198.18.7.201/25", name="eth2")
        await begin(rig, cidrs=["198.18.7.0/24"])
        await eventually(lambda: "198.18.7.1 (eth1), 198.18.7.201 (eth2)" in message(rig))
        assert local(rig) == ""
        rig.kernel.run(Delete(Address(link.index, "198.18.7.1/25")))
        await rig.ready()
        assert local(rig) == "198.18.7.201"
        rig.kernel.run(Put(Address(link.index, "198.18.7.1/25")))
        await eventually(lambda: rig.status().get("hostIP") == "198.18.7.201")
        await rig.stop()
        await rig.start()
        await rig.ready()
        assert local(rig) == "198.18.7.201"

    async def test_addresses_that_the_choice_does_not_mean_are_left_alone(self, rig: Rig) -> None:
        """kube-proxy's IPVS mode adds thousands: the host is not looked at for each."""
        link = second_nic(rig, "198.18.7.1/24")
        await begin(rig, interface="eth1", cidrs=["198.18.7.0/24"])
        await rig.ready()
        other = rig.kernel.link("eth0")
        assert other is not None
        for index, address, concerns in (
            (link.index, "198.18.7.9/32", True),
            (link.index, "203.0.113.9/32", False),
            (other.index, "198.18.7.9/32", False),
            (other.index, "198.18.0.1/24", True),
        ):
            assert rig.agent.view.concerns_underlay(Address(index, address)) is concerns, address

    async def test_a_chosen_address_that_is_lost_is_waited_for(self, rig: Rig) -> None:
        link = second_nic(rig, "198.18.7.1/24")
        await begin(rig, interface="eth1")
        await rig.ready()
        rig.kernel.run(Delete(Address(link.index, "198.18.7.1/24")))
        await eventually(
            lambda: "on no interface" in message(rig) and "underlay.interface eth1" in message(rig)
        )
        assert local(rig) == "198.18.7.1"
        second_nic(rig, "198.18.7.9/24")
        await eventually(lambda: local(rig) == "198.18.7.9")
        await rig.ready()

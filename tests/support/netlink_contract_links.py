"""The part of the contract that is about links and their addresses."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from quilt_netlink import (
    DETACH,
    SCOPE_LINK,
    Address,
    BridgeFdbEntry,
    Create,
    Delete,
    KernelLike,
    Link,
    Put,
    Route,
    Vxlan,
)
from tests.support.netlink_parts import VXLAN, Other, refusal


class LinkContract:
    def test_a_vxlan_device_reads_back_as_it_was_made(self, kernel: KernelLike, device: int) -> None:
        assert kernel.link("vxlan100") == replace(VXLAN, index=device)
        assert kernel.link(device) == kernel.link("vxlan100")
        assert replace(VXLAN, index=device) in kernel.links()

    def test_mac_mtu_local_and_state_change_in_place(self, kernel: KernelLike, device: int) -> None:
        new = Vxlan(100, 4789, "198.18.0.9")
        wanted = replace(VXLAN, mac="02:00:00:00:00:09", mtu=1300, up=False, vxlan=new)
        kernel.run(Put(wanted))
        assert kernel.link("vxlan100") == replace(wanted, index=device)

    @pytest.mark.parametrize("vxlan", [Vxlan(101, 4789, "198.18.0.1"), Vxlan(100, 4790, "198.18.0.1")])
    def test_vni_and_port_do_not_change_in_place(self, kernel: KernelLike, device: int, vxlan: Vxlan) -> None:
        assert refusal(kernel, Put(replace(VXLAN, vxlan=vxlan))) == errno.EOPNOTSUPP
        assert kernel.link("vxlan100") == replace(VXLAN, index=device)

    def test_field_bug_11_a_vni_and_port_belong_to_one_device(self, kernel: KernelLike, device: int) -> None:
        assert refusal(kernel, Create(replace(VXLAN, name="other"))) == errno.EEXIST
        assert kernel.link("other") is None

    def test_creating_what_is_there_is_refused(self, kernel: KernelLike, device: int) -> None:
        assert refusal(kernel, Create(Link("vxlan100", kind="bridge"))) == errno.EEXIST
        assert refusal(kernel, Put(Link("vxlan100", kind="bridge"))) == errno.EEXIST

    def test_a_link_is_renamed_by_its_index(self, kernel: KernelLike) -> None:
        kernel.run(Create(Link("before", kind="bridge")))
        index = kernel.link("before").index  # type: ignore[union-attr]
        kernel.run(Put(Link("after", index=index)))
        assert kernel.link("before") is None
        assert kernel.link("after").index == index  # type: ignore[union-attr]

    def test_a_missing_link(self, kernel: KernelLike) -> None:
        assert kernel.link("nothing") is None
        assert kernel.link(4242) is None
        assert kernel.link(0) is None
        assert kernel.link("a-name-that-is-far-too-long") is None
        assert refusal(kernel, Delete(Link("nothing"))) == errno.ENODEV
        assert refusal(kernel, Put(Link("nothing", index=4242))) == errno.ENODEV
        for read in (kernel.addresses, kernel.neighbours, kernel.fdb, kernel.bridge_fdb):
            assert read(4242) == []
        assert kernel.routes(ifindex=4242) == []

    def test_a_veth_end_moves_into_another_namespace(self, kernel: KernelLike, other: Other) -> None:
        inside, descriptor = other
        kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
        bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
        peer_end = Link("eth0", mac="02:00:00:00:20:01", mtu=1380, netns_fd=descriptor)
        pair = Link("q1", kind="veth", mtu=1380, up=True, master=bridge, hairpin=True, peer=peer_end)
        kernel.run(Create(pair))
        port, eth0 = kernel.link("q1"), inside.link("eth0")
        assert port is not None
        assert eth0 is not None
        assert (port.master, port.hairpin, port.mtu, port.up) == (bridge, True, 1380, True)
        assert (eth0.kind, eth0.mac, eth0.mtu, eth0.up) == ("veth", "02:00:00:00:20:01", 1380, False)
        assert kernel.link("eth0") is None
        assert BridgeFdbEntry(port.mac, port.index, bridge) in kernel.bridge_fdb(bridge)
        kernel.run(Delete(Link("q1")))
        assert inside.link("eth0") is None

    def test_a_port_leaves_its_bridge(self, kernel: KernelLike) -> None:
        kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
        bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
        kernel.run(Create(Link("q1", kind="veth", master=bridge, peer=Link("q2"))))
        kernel.run(Put(Link("q1", hairpin=True)))
        assert kernel.link("q1").hairpin is True  # type: ignore[union-attr]
        kernel.run(Put(Link("q1", master=DETACH)))
        port = kernel.link("q1")
        assert port is not None
        assert (port.master, port.hairpin) == (0, None)

    @pytest.mark.parametrize("address", ["10.42.1.1/24", "10.42.1.0/32", "fd42:1::1/64"])
    def test_addresses(self, kernel: KernelLike, device: int, address: str) -> None:
        entry = Address(device, address)
        kernel.run(Create(entry))
        kernel.run(Put(entry))
        assert refusal(kernel, Create(entry)) == errno.EEXIST
        assert entry in kernel.addresses(device)
        assert entry in kernel.addresses()
        kernel.run(Delete(entry))
        assert entry not in kernel.addresses(device)
        assert refusal(kernel, Delete(entry)) == errno.EADDRNOTAVAIL

    def test_an_address_brings_its_route_unless_asked_not_to(self, kernel: KernelLike, device: int) -> None:
        kernel.run(Put(Address(device, "10.42.1.1/24")))
        route = Route("10.42.1.0/24", 2, ifindex=device, scope=SCOPE_LINK, prefsrc="10.42.1.1")
        assert kernel.routes(protocol=2) == [route]
        kernel.run(Delete(Address(device, "10.42.1.1/24")))
        kernel.run(Put(Address(device, "10.42.1.1/24", noprefixroute=True)))
        assert kernel.routes(protocol=2) == []

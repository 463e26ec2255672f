"""Interfaces and addresses of the real kernel, read by us and by pyroute2."""

from __future__ import annotations

from typing import Any, Protocol

from quilt_netlink import (
    ADDRGENMODE_NONE,
    Address,
    Create,
    Kernel,
    Link,
    Vxlan,
    constants,
    decode,
)
from quilt_netlink.tables import TABLES, Narrow
from tests.support import netlink_reference as reference


class Namespace(Protocol):
    path: str

    def run(self, *command: str) -> str: ...


def answers(kernel: Kernel, request: bytes) -> list[bytes]:
    found: list[bytes] = []
    channel = kernel._channel

    def consume(view: memoryview, size: int, seq: int) -> bool:
        at = 0
        while at + 16 <= size:
            length, kind = (
                int.from_bytes(view[at : at + 4], "little"),
                int.from_bytes(view[at + 4 : at + 6], "little"),
            )
            if kind == constants.NLMSG_DONE:
                return True
            found.append(bytes(view[at : at + length]))
            at += (length + 3) & ~3
        return False

    channel.dump(request, consume)
    return found


def by_pyroute2(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") or "") if info else ""
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    inet6 = message.get_attr("IFLA_AF_SPEC").get_attr("AF_INET6")
    port = (
        info.get_attr("IFLA_INFO_SLAVE_DATA")
        if info and info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
        else None
    )
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        index=message["index"],
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & 1),
        master=message.get_attr("IFLA_MASTER") or 0,
        link=message.get_attr("IFLA_LINK") or 0,
        addrgenmode=inet6.get_attr("IFLA_INET6_ADDR_GEN_MODE") if inet6 else None,
        vxlan=Vxlan(
            data.get_attr("IFLA_VXLAN_ID"),
            data.get_attr("IFLA_VXLAN_PORT"),
            data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6") or "",
            bool(data.get_attr("IFLA_VXLAN_LEARNING")),
            data.get_attr("IFLA_VXLAN_LINK") or 0,
        )
        if kind == "vxlan"
        else None,
        hairpin=bool(port.get_attr("IFLA_BRPORT_MODE")) if port else None,
    )


def test_links_and_addresses_are_read_as_pyroute2_reads_them(netns: Namespace, kernel: Kernel) -> None:
    kernel.run(Create(Link("br0", "bridge", mac="02:00:00:00:00:01", up=True, addrgenmode=ADDRGENMODE_NONE)))
    bridge = kernel.link("br0")
    assert bridge is not None
    kernel.run(
        Create(Link("ve0", "veth", mtu=1300, up=True, master=bridge.index, hairpin=True, peer=Link("ve1")))
    )
    kernel.run(
        Create(Link("vx4", "vxlan", up=True, vxlan=Vxlan(100, 4789, "198.18.0.1", device=bridge.index)))
    )
    kernel.run(Create(Link("vx6", "vxlan", vxlan=Vxlan(101, 4790, "fd00::1", learning=True))))
    netns.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    kernel.run(Create(Address(bridge.index, "10.42.1.1/24", noprefixroute=True)))
    kernel.run(Create(Address(bridge.index, "fd42::1/64")))
    raw = answers(kernel, *TABLES[Link].requests(Narrow()))
    assert {link.name for link in kernel.links()} == {"lo", "br0", "ve0", "ve1", "vx4", "vx6", "tap0"}
    for data in raw:
        assert decode.link(decode.message(memoryview(data))) == by_pyroute2(
            reference.decode(reference.ifinfmsg, data)
        )
    held = answers(kernel, *TABLES[Address].requests(Narrow()))
    assert len(held) >= 3
    for data in held:
        message = reference.decode(reference.ifaddrmsg, data)
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        read = decode.address(decode.message(memoryview(data)))
        assert (read.address, read.ifindex) == (f"{text}/{message['prefixlen']}", message["index"])
        assert read.noprefixroute == bool(message.get_attr("IFA_FLAGS") & 0x200)

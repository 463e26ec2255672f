"""Failures reported of others, by the row of their list, on the real kernel (1, 2, 3, 5, 6, 10, 11 also in
test_agent_on_real_kernel.py)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quilt_crds.names import vtep_mac
from quilt_netlink import Delete, FdbEntry, Neighbour, Op, Put, Vxlan
from quilt_nodeagent.kernel.hostcare import HostCare, TxChecksum
from quilt_nodeagent.kernel.observe import read_fdb, read_neighbours
from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_scene import device, mesh, programmed, publish, routed
from tests.support.namespaces import Namespace, socket_inside


@asynccontextmanager
async def real_runtime(rig: Rig, netns: Namespace) -> AsyncIterator[None]:
    """The product's own runtime in the namespace, in the place of the double."""
    await rig.runtime.stop()
    (rig.folder / "runtime.sock").unlink(missing_ok=True)
    enter = ("ip", "netns", "exec", netns.name, sys.executable, "-m", "quilt_runtime")
    with (rig.folder / "runtime.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *enter, f"--socket-dir={rig.folder}", f"--state-dir={rig.folder}/state", stdout=log, stderr=log
        )
    try:
        await eventually(lambda: '"started"' in (rig.folder / "runtime.log").read_text())
        yield
    finally:
        process.kill()
        await process.wait()


def threshold() -> int:
    """How many neighbours that are not permanent the kernel keeps, over all namespaces."""
    return int(Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").read_text())


def subnet_routed(rig: Rig) -> bool:
    """Whether the bridge of this node's pods has its address, and so its route."""
    bridge = rig.kernel.link("quilt0")
    return bridge is not None and "10.42.1.1/24" in {a.address for a in rig.kernel.addresses(bridge.index)}


async def test_row_3_the_parent_of_the_vxlan_device_leaves_and_comes_back(rig: Rig, netns: Namespace) -> None:
    await mesh(rig, 2, 3)
    index = device(rig).index
    netns.run("ip", "link", "del", "eth0")
    await eventually(lambda: "198.18.0.1" not in {a.address for a in rig.kernel.addresses()})
    await eventually(lambda: "on no interface" in rig.condition("DataplaneInSync")["message"])
    publish(rig, 4)
    await eventually(lambda: programmed(rig, 2, 3, 4))
    netns.run("ip", "link", "add", "eth0", "mtu", "1400", "type", "veth", "peer", "name", "switch")
    netns.run("ip", "address", "add", "198.18.0.1/24", "dev", "eth0")
    netns.run("ip", "link", "set", "eth0", "up")
    await eventually(lambda: device(rig).mtu == 1350 and programmed(rig, 2, 3, 4))
    assert device(rig).index == index
    await rig.ready()


@pytest.mark.parametrize(
    "command",
    [
        "ip link set eth0 down; ip link set eth0 up",
        "ip link set vxlan100 down; ip link set vxlan100 up",
        "for n in 1 2 3 4 5; do ip link set vxlan100 down; ip link set vxlan100 up; done",
        "ip link set quilt0 down; ip link set quilt0 up",
        # What network services do at their restart: whatever they did not make, they remove.
        "ip route flush proto 81; ip nexthop flush;"
        "ip address flush dev vxlan100; ip address flush dev quilt0",
        "ip address flush dev eth0; ip route flush dev eth0; ip link set eth0 down;"
        "ip address add 198.18.0.1/24 dev eth0; ip link set eth0 up",
    ],
)
async def test_row_4_routes_survive_link_flaps_and_network_services(
    rig: Rig, netns: Namespace, command: str
) -> None:
    async with real_runtime(rig, netns):
        await mesh(rig, 2, 3)
        await eventually(lambda: subnet_routed(rig))
        netns.run("sh", "-c", command)
        await eventually(
            lambda: programmed(rig, 2, 3) and subnet_routed(rig) and not rig.agent.report.unready()
        )
        assert {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.1.0/32"}


async def test_row_5_of_two_nics_the_one_of_the_node_is_used(rig: Rig, netns: Namespace) -> None:
    """Every node of such a cloud has 10.0.2.15 on its first NIC, with the default route."""
    netns.run("ip", "link", "add", "eth1", "mtu", "1500", "type", "veth", "peer", "name", "nat")
    netns.run("ip", "address", "add", "10.0.2.15/24", "dev", "eth1")
    netns.run("ip", "link", "set", "nat", "up")
    netns.run("ip", "link", "set", "eth1", "up")
    netns.run("ip", "route", "add", "default", "via", "10.0.2.2", "dev", "eth1")
    await mesh(rig, 2)
    assert device(rig).vxlan == Vxlan(100, 4789, "198.18.0.1")
    await eventually(
        lambda: "198.18.0.1: the Node's InternalIP" in rig.condition("DataplaneInSync")["message"]
    )


async def test_row_5_the_host_address_moves_to_another_nic(rig: Rig, netns: Namespace) -> None:
    netns.run("ip", "link", "add", "eth1", "mtu", "9000", "type", "veth", "peer", "name", "fast")
    netns.run("ip", "link", "set", "fast", "up")
    netns.run("ip", "link", "set", "eth1", "up")
    await mesh(rig, 2)
    netns.run("ip", "address", "del", "198.18.0.1/24", "dev", "eth0")
    netns.run("ip", "address", "add", "198.18.0.1/24", "dev", "eth1")
    await eventually(lambda: device(rig).mtu == 8950 and programmed(rig, 2))
    await eventually(lambda: rig.runtime.configured[-1].mtu == 8950)


async def test_row_5_the_network_chooses_another_nic_than_the_nodes(rig: Rig, netns: Namespace) -> None:
    """MTU and device follow the chosen NIC; keepalived's address on it is not mistaken for the node's."""
    netns.run("ip", "link", "add", "eth1", "mtu", "9000", "type", "veth", "peer", "name", "fast")
    netns.run("ip", "address", "add", "10.20.0.100/32", "dev", "eth1")
    netns.run("ip", "address", "add", "10.20.0.7/24", "dev", "eth1")
    netns.run("ip", "link", "set", "fast", "up")
    netns.run("ip", "link", "set", "eth1", "up")
    await mesh(rig, 2)
    rig.network(underlay={"cidrs": ["10.20.0.0/16"]})
    await eventually(lambda: device(rig).vxlan == Vxlan(100, 4789, "10.20.0.7") and device(rig).mtu == 8950)
    await eventually(lambda: programmed(rig, 2) and rig.runtime.configured[-1].mtu == 8950)
    await eventually(
        lambda: (
            "10.20.0.7: underlay.cidrs 10.20.0.0/16, on eth1" in rig.condition("DataplaneInSync")["message"]
        )
    )


async def test_row_5_an_interface_that_gets_the_chosen_name_is_used(rig: Rig, netns: Namespace) -> None:
    """At boot the kernel's names come first, and the distribution's replace them."""
    netns.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "fast")
    netns.run("ip", "address", "add", "10.20.0.7/24", "dev", "eth1")
    rig.network(underlay={"interface": "ens*"})
    rig.api.claim("10.42.1.0/24", "self", "10.20.0.7")
    publish(rig, 2)
    await rig.start()
    await eventually(lambda: "10.20.0.7 (eth1)" in rig.condition("DataplaneInSync").get("message", ""))
    netns.run("ip", "link", "set", "eth1", "name", "ens7")
    await eventually(lambda: programmed(rig, 2) and device(rig).vxlan == Vxlan(100, 4789, "10.20.0.7"))


async def test_row_7_a_stale_neighbour_with_a_wanted_mac_is_removed_alone(rig: Rig) -> None:
    await mesh(rig, 2, 3)
    index, mac = device(rig).index, vtep_mac("default", "n2")
    rig.kernel.run(Put(Neighbour(index, "10.42.55.0", mac)))
    await eventually(lambda: rig.counter("drift_repairs_total", kind="neighbour") == 1)
    assert programmed(rig, 2, 3)


async def test_row_7_a_node_deleted_and_added_again_has_its_new_address(rig: Rig) -> None:
    await mesh(rig, 2, 3)
    index, mac = device(rig).index, vtep_mac("default", "n2")
    await rig.stop()
    rig.api.unclaim("10.42.2.0/24")
    rig.api.claim("10.42.9.0/24", "n2", "198.18.0.99")
    await rig.start()
    await rig.ready()
    assert read_fdb(rig.kernel, index)[mac] == "198.18.0.99"
    neighbours = read_neighbours(rig.kernel, index)
    assert [address for address, held in neighbours.items() if held == mac] == ["10.42.9.0"]
    assert "10.42.2.0/24" not in routed(rig)


async def test_row_12_more_neighbours_than_the_tables_threshold(rig: Rig, netns: Namespace) -> None:
    await mesh(rig, 2)
    index = device(rig).index
    count = min(threshold(), 16_384) + 500
    for n in range(count):
        rig.api.claim(
            f"10.{60 + n // 250}.{n % 250}.0/24", f"n{1000 + n}", f"198.18.{n // 250}.{n % 250 + 1}"
        )
    await eventually(lambda: len(routed(rig)) == count + 1)
    assert len(rig.kernel.neighbours(index)) == count + 1
    # And the host's own neighbours, which are not permanent, still find room.
    netns.run(
        "ip", "neigh", "add", "198.18.0.7", "lladdr", "02:00:00:00:00:07", "dev", "eth0", "nud", "stale"
    )
    assert "02:00:00:00:00:07" in netns.run("ip", "neigh", "show", "198.18.0.7")


async def test_row_13_a_peer_that_the_kernel_refuses_spoils_no_other(rig: Rig) -> None:
    """An IPv6 host behind an IPv4 device: it accepts no such FDB entry, and all the others."""
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    rig.api.claim("10.42.5.0/24", "n5", "2001:db8::5")
    publish(rig, *range(2, 5), *range(6, 200))
    await rig.start()
    await eventually(lambda: len(routed(rig)) == 197)
    assert "10.42.5.0/24" not in routed(rig)
    await eventually(lambda: "n5 (2001:db8::5)" in rig.condition("DataplaneInSync")["message"])
    publish(rig, 5)
    await eventually(lambda: programmed(rig, *range(2, 200)))


async def test_row_13_many_changes_and_a_storm_of_notifications_leave_it_in_sync(rig: Rig) -> None:
    await mesh(rig, 2, 3)
    index = device(rig).index
    storm: list[Op] = []
    for n in range(30_000):
        entry = FdbEntry(index, f"02:00:00:01:{n >> 8:02x}:{n & 255:02x}", "198.18.0.99")
        storm += [Put(entry), Delete(entry)]
    await asyncio.to_thread(rig.kernel.apply, storm)
    rig.kernel.run(Delete(Neighbour(index, "10.42.2.0", vtep_mac("default", "n2"))))
    await eventually(lambda: programmed(rig, 2, 3))
    await rig.ready()


@pytest.mark.parametrize("release", ["4.19.0", "6.1.0"])
def test_row_8_no_stall_through_a_port_rewriting_masquerade(
    netns: Namespace, peer_netns: Namespace, tmp_path: Path, release: str
) -> None:
    """TCP over the overlay while the outer packets' ports are rewritten, with and without offload."""
    overlay(netns, peer_netns)
    care = HostCare(tmp_path, "auto", TxChecksum(lambda: socket_inside(netns)), release)
    care.look("vxlan100", 1, 0)
    features = netns.run("ethtool", "-k", "vxlan100")
    assert f"tx-checksumming: {'on' if release == '6.1.0' else 'off'}" in features
    rules = (
        "table ip t { chain p { type nat hook postrouting priority srcnat;"
        " udp dport 4789 masquerade to :20000-30000 fully-random; }; }"
    )
    netns.run("nft", "-f", "-", stdin=rules)
    server = (
        "import socket; s=socket.create_server(('10.42.2.0', 8000)); c,_=s.accept(); c.sendall(b'x'*200000)"
    )
    client = (
        "import socket; s=socket.create_connection(('10.42.2.0', 8000), 30); n=0\n"
        "while (d:=s.recv(65536)): n+=len(d)\nassert n == 200000, n"
    )
    background = subprocess.Popen(["ip", "netns", "exec", peer_netns.name, "python3", "-c", server])
    try:
        peer_netns.run("sh", "-c", "until ss -ltn | grep -q :8000; do sleep 0.02; done")
        netns.run("python3", "-c", client)
    finally:
        background.kill()
        background.wait()


def overlay(one: Namespace, other: Namespace) -> None:
    """Two hosts with an underlay link and VTEPs 10.42.1.0 and 10.42.2.0 that know each other."""
    one.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other.name)
    for number, here, peer in ((1, one, 2), (2, other, 1)):
        script = f"""
            ip address add 198.18.0.{number}/24 dev eth0; ip link set eth0 up
            ip link add vxlan100 address 02:00:00:00:00:0{number} type vxlan id 100 dstport 4789 nolearning
            ip link set vxlan100 up; ip address add 10.42.{number}.0/32 dev vxlan100
            bridge fdb add 02:00:00:00:00:0{peer} dev vxlan100 dst 198.18.0.{peer} self permanent
            ip neigh add 10.42.{peer}.0 lladdr 02:00:00:00:00:0{peer} dev vxlan100 nud permanent
            ip route add 10.42.{peer}.0/24 via 10.42.{peer}.0 dev vxlan100 onlink
        """
        here.run("sh", "-ec", script)

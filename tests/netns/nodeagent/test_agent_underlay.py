"""Which address and interface of a host the mesh is on, and peers that it cannot reach from there."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from quilt_crds.names import vtep_mac
from quilt_netlink import Address, Failure, FdbEntry, Link, Op, Put, Route
from quilt_nodeagent import sources
from quilt_nodeagent.core.overlay import Hop
from tests.support.agent_doubles import Rig
from tests.support.agent_scene import device, mesh, programmed, publish, routed


async def comes(condition: Callable[[], object], patience: float = 30.0) -> bool:
    """Whether a condition comes to hold; the patience is the test's."""
    try:
        async with asyncio.timeout(patience):
            while not condition():  # noqa: ASYNC110  not everything has an event
                await asyncio.sleep(0.005)
    except TimeoutError:
        return False
    return True


def give(rig: Rig, name: str, *addresses: str, **settings: int) -> Link:
    """Give an interface addresses, and settings first."""
    link = rig.kernel.link(name)
    assert link is not None
    rig.kernel.run(Put(Link(name, index=link.index, up=True, **settings)))  # type: ignore[arg-type]
    for address in addresses:
        rig.kernel.run(Put(Address(link.index, address)))
    return link


async def test_a_node_address_that_is_corrected_is_followed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t10: A Node whose InternalIP is corrected, both addresses on this host, is followed."""
    monkeypatch.setattr(sources, "_NODE_AGAIN", 0.1)
    give(rig, "eth0", "198.18.3.1/24")
    await mesh(rig, 2)
    addresses = [{"type": "InternalIP", "address": "198.18.3.1"}]
    rig.api.put("/api/v1/nodes", {"metadata": {"name": "self"}, "status": {"addresses": addresses}})
    assert await comes(lambda: rig.status().get("hostIP") == "198.18.3.1"), rig.status().get("hostIP")
    assert await comes(lambda: device(rig).vxlan.local == "198.18.3.1")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["kube-ipvs0", "lo"])
async def test_an_address_that_is_on_a_device_that_leads_nowhere_too(rig: Rig, name: str) -> None:
    """t18: MTU and direct routes follow the NIC where the host address is on kube-ipvs0 or lo as well."""
    give(rig, "eth0", mtu=1400)
    if name == "kube-ipvs0":
        # Not every kernel has dummy devices; to the host's routes a bridge leads nowhere either.
        rig.kernel.run(Put(Link(name, kind="bridge", up=True)))
    give(rig, name, "198.18.0.1/32")
    rig.network(vxlan={"directRouting": True})
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    publish(rig, 2)
    await rig.start()
    await rig.ready()
    assert device(rig).mtu == 1350
    assert routed(rig) == {"10.42.2.0/24": Hop("198.18.0.2", "eth0")}


async def test_an_address_that_is_on_the_loopback_device_alone(rig: Rig) -> None:
    """t18: MTU and direct routes follow the way to the peers where the host address is on lo alone."""
    nic = give(rig, "eth0", mtu=1400)
    give(rig, "lo", "198.18.9.1/32")
    rig.kernel.run(Put(Route("198.18.9.0/24", 4, ifindex=nic.index, gateway="198.18.0.254")))
    rig.network()
    addresses = [{"type": "InternalIP", "address": "198.18.9.1"}]
    rig.api.put("/api/v1/nodes", {"metadata": {"name": "self"}, "status": {"addresses": addresses}})
    rig.api.claim("10.42.1.0/24", "self", "198.18.9.1")
    rig.api.claim("10.42.2.0/24", "n2", "198.18.9.2")
    await rig.start()
    await rig.ready()
    assert device(rig).mtu == 1350
    assert routed(rig) == {"10.42.2.0/24": Hop("10.42.2.0", "vxlan100")}


async def test_a_peer_with_a_host_address_of_the_other_family_makes_nobody_unready(rig: Rig) -> None:
    """t15: One node with an IPv6 host address in an IPv4 mesh: the others are Ready and name it."""
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    rig.api.claim("10.42.5.0/24", "n5", "2001:db8::5")
    publish(rig, 2, 3)
    await rig.start()
    assert await comes(lambda: not rig.agent.report.unready()), rig.agent.report.unready()
    assert (rig.folder / "conf" / "10-quilt.conflist").exists()
    assert programmed(rig, 2, 3)
    assert await comes(lambda: rig.condition("DataplaneInSync").get("status") == "True")
    assert "n5 (2001:db8::5)" in rig.condition("DataplaneInSync")["message"]
    publish(rig, 5)
    assert await comes(lambda: programmed(rig, 2, 3, 5))
    assert await comes(lambda: "n5" not in rig.condition("DataplaneInSync")["message"])


async def test_the_node_with_the_other_family_says_so_itself(rig: Rig) -> None:
    """t15: The node whose host address is of another family than its peers' says so, and is not Ready."""
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    for number in (2, 3):
        rig.api.claim(f"10.42.{number}.0/24", f"n{number}", f"2001:db8::{number}")
    await rig.start()
    assert await comes(lambda: "another IP family" in rig.condition("DataplaneInSync").get("message", "")), (
        rig.condition("DataplaneInSync")
    )
    assert rig.condition("DataplaneInSync")["status"] == "False"


async def test_a_refused_entry_makes_nobody_unready_and_is_tried_alone(rig: Rig) -> None:
    """t15: A peer's entry that is refused unreadies no node, and is tried again by itself."""
    rig.runtime.refuse.add("10.42.5.0/24")
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    publish(rig, 2, 3, 5)
    await rig.start()
    assert await comes(lambda: not rig.agent.report.unready()), rig.agent.report.unready()
    assert await comes(lambda: "10.42.5.0/24" in rig.condition("DataplaneInSync").get("message", ""))
    failures = rig.counter("kernel_write_failures_total", kind="route")
    assert await comes(lambda: rig.counter("kernel_write_failures_total", kind="route") > failures + 2)
    assert rig.condition("DataplaneInSync")["status"] == "True"
    rig.runtime.refuse.clear()
    assert await comes(lambda: programmed(rig, 2, 3, 5))


async def test_an_entry_that_stays_refused_costs_no_look_at_all_others(rig: Rig) -> None:
    """t15: An entry that the kernel keeps refusing is tried again without reading all others."""
    refuse_fdb_entry(rig, vtep_mac("default", "n5"))
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    publish(rig, 2, 3, 5)
    await rig.start()
    assert await comes(lambda: not rig.agent.report.unready()), rig.agent.report.unready()
    assert await comes(lambda: rig.counter("kernel_write_failures_total", kind="fdb") >= 6)
    assert rig.counter("resyncs_total", cause="retry") <= 2
    del rig.kernel.apply  # type: ignore[attr-defined]  # the class' own again
    assert await comes(lambda: programmed(rig, 2, 3, 5))


async def test_a_small_underlay_keeps_ipv4_peers_where_it_is_too_small_for_ipv6(rig: Rig) -> None:
    """t21: An overlay whose MTU is too small for IPv6 carries IPv4 as before, and no IPv6 is written."""
    give(rig, "eth0", mtu=1300)
    rig.network(clusterCIDRsV6=["fd42::/48"])
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    rig.api.claim("fd42:0:0:1::/64", "self", "198.18.0.1")
    rig.api.claim("fd42:0:0:2::/64", "n2", "198.18.0.2")
    publish(rig, 2)
    await rig.start()
    assert await comes(lambda: programmed(rig, 2)), rig.agent.reconciler.problems
    assert device(rig).mtu == 1250
    give(rig, "eth0", mtu=1500)
    assert await comes(lambda: "fd42:0:0:2::/64" in routed(rig)), rig.agent.reconciler.problems


def refuse_fdb_entry(rig: Rig, mac: str) -> None:
    """Have the kernel refuse one entry, whatever comes with it."""
    apply = rig.kernel.apply

    def but_one(ops: Sequence[Op]) -> list[Failure]:
        bad = [at for at, op in enumerate(ops) if isinstance(op.entry, FdbEntry) and op.entry.mac == mac]
        good = [at for at in range(len(ops)) if at not in bad]
        failures = [
            replace(failure, index=good[failure.index]) for failure in apply([ops[at] for at in good])
        ]
        failures += [Failure(at, ops[at], errno.EPERM, "refused on demand") for at in bad]
        return sorted(failures, key=lambda failure: failure.index)

    rig.kernel.apply = but_one  # type: ignore[method-assign]

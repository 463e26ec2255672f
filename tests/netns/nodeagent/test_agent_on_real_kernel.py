"""The whole agent on the real kernel, in a throw-away namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_behaviour import AgentBehaviour, device, mesh, stands
from agent_doubles import Rig, eventually
from agent_doubles import rig as make_rig

from quilt_netlink import Address, Kernel, Link, Monitor, Put


@pytest.fixture
async def rig(kernel: Kernel, netns: object, tmp_path: Path) -> AsyncIterator[Rig]:
    kernel.run(Put(Link("eth0", kind="veth", up=True, mtu=1500, peer=Link("switch", up=True))))
    eth0 = kernel.link("eth0")
    assert eth0 is not None
    kernel.run(Put(Address(eth0.index, "198.18.0.1/24")))
    path = f"/run/netns/{netns.name}"  # type: ignore[attr-defined]
    async with make_rig(kernel, tmp_path, lambda: Monitor.open(netns_path=path)) as made:
        made.netns = netns  # type: ignore[attr-defined]
        yield made


class TestOnRealKernel(AgentBehaviour):
    @pytest.mark.parametrize(
        "command",
        [
            "ip link del vxlan100",
            "ip link set vxlan100 down",
            "ip route del 10.42.2.0/24",
            "bridge fdb flush dev vxlan100",
            "ip neigh flush dev vxlan100 nud permanent",
            "ip nexthop flush proto 81",
            "ip addr flush dev vxlan100",
            "ip link set vxlan100 type vxlan id 100 learning",
            "ip link set vxlan100 address 02:00:00:00:00:01",
            "ip neigh change 10.42.2.0 lladdr 02:00:00:00:00:09 dev vxlan100 nud reachable",
            "ip route replace 10.42.2.0/24 dev eth0 proto 81",
            "ip link set vxlan100 name renamed0",
        ],
    )
    async def test_what_operators_break_is_healed(self, rig: Rig, command: str) -> None:
        await mesh(rig, 2, 3)
        good, writes = device(rig), _writes(rig)
        rig.netns.run(*command.split())  # type: ignore[attr-defined]
        await eventually(lambda: _writes(rig) > writes and stands(rig, 2, 3))
        assert device(rig).vxlan == good.vxlan
        assert (device(rig).mac, device(rig).mtu, device(rig).up) == (good.mac, good.mtu, good.up)
        assert {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.1.0/32"}


def _writes(rig: Rig) -> float:
    entries = sum(rig.counter("kernel_writes_total", kind=kind) for kind in ("neighbour", "fdb", "route"))
    return entries + sum(rig.counter("drift_repairs_total", kind=kind) for kind in ("link", "address"))

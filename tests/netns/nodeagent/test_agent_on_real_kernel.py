"""The whole agent on the real kernel, in a throw-away namespace."""

from __future__ import annotations

import pytest

from quilt_crds.names import vtep_mac
from tests.support.agent_behaviour import AgentBehaviour
from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_scene import device, mesh, programmed
from tests.support.namespaces import Namespace


class TestOnRealKernel(AgentBehaviour):
    @pytest.mark.parametrize(
        "command",
        [
            pytest.param("ip link del vxlan100", marks=pytest.mark.kernel),
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
            # Modified in place: nothing is missing, everything leads astray.
            "ip route replace 10.42.2.0/24 via 10.42.3.0 dev vxlan100 onlink proto 81",
            pytest.param("ip route replace 10.42.2.0/24 nhid {other} proto 81", marks=pytest.mark.kernel),
            "ip route replace blackhole 10.42.2.0/24 proto 81",
            "ip nexthop replace id {own} via 10.42.3.0 dev vxlan100 onlink proto 81",
            "ip nexthop replace id {own} via 10.42.3.0 dev vxlan100 onlink",
            "ip nexthop replace id {own} dev eth0 proto 81",
            pytest.param(
                "bridge fdb replace {mac} dev vxlan100 dst 198.18.0.3 self permanent",
                marks=pytest.mark.kernel,
            ),
            "ip neigh replace 10.42.2.0 lladdr 02:00:00:00:00:09 dev vxlan100 nud permanent",
            "ip link set vxlan100 mtu 1300",
            "ip link set vxlan100 addrgenmode eui64",
            "ip link set vxlan100 type vxlan id 100 local 198.18.0.200",
        ],
    )
    async def test_what_operators_break_is_healed(self, rig: Rig, netns: Namespace, command: str) -> None:
        await mesh(rig, 2, 3)
        good, writes = device(rig), _writes(rig)
        ids = {nexthop.gateway: nexthop.id for nexthop in rig.kernel.nexthops(protocol=81)}
        names = {"own": ids["10.42.2.0"], "other": ids["10.42.3.0"], "mac": vtep_mac("default", "n2")}
        netns.run(*command.format(**names).split())
        await eventually(lambda: _writes(rig) > writes and programmed(rig, 2, 3))
        assert device(rig).vxlan == good.vxlan
        assert (device(rig).mac, device(rig).mtu, device(rig).up) == (good.mac, good.mtu, good.up)
        assert {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.1.0/32"}


def _writes(rig: Rig) -> float:
    entries = sum(rig.counter("kernel_writes_total", kind=kind) for kind in ("neighbour", "fdb", "route"))
    return entries + sum(rig.counter("drift_repairs_total", kind=kind) for kind in ("link", "address"))

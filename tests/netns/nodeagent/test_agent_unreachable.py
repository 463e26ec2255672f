"""Addresses of the cluster without a route: refused by the node, never sent in clear to the gateway."""

from __future__ import annotations

import pytest

from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_scene import mesh, programmed, publish
from tests.support.namespaces import Namespace

CIDRS = {"10.42.0.0/16", "fd42:42::/48"}


def refused(netns: Namespace) -> set[str]:
    """What the kernel refuses, as ip(8) shows it."""
    shown = netns.run("ip", "route", "show", "type", "unreachable")
    shown += netns.run("ip", "-6", "route", "show", "type", "unreachable")
    return {line.split()[1] for line in shown.splitlines() if "proto 81" in line}


async def start(rig: Rig, *, ipv6: bool = True) -> None:
    rig.network(clusterCIDRsV6=["fd42:42::/48"] if ipv6 else [])
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    if ipv6:
        rig.api.claim("fd42:42:0:1::/64", "self", "198.18.0.1")
    await rig.start()
    await rig.ready()


async def test_a_node_refuses_what_has_no_route_and_sends_what_has_one(rig: Rig, netns: Namespace) -> None:
    """t14: What is sent to a cluster address without a route is refused, as soon as the network is known."""
    assert refused(netns) == set()
    await mesh(rig, 2)
    assert refused(netns) == {"10.42.0.0/16"}
    assert "dev vxlan100" in netns.run("ip", "route", "get", "10.42.2.9")
    publish(rig, 2, phase="Down")
    await eventually(lambda: programmed(rig))
    assert refused(netns) == {"10.42.0.0/16"}


@pytest.mark.kernel
@pytest.mark.parametrize("cidr", sorted(CIDRS))
async def test_who_removes_it_is_answered(rig: Rig, netns: Namespace, cidr: str) -> None:
    """t14: The route that refuses is made again when others delete it, and counted as drift."""
    ipv6 = ":" in cidr
    await start(rig, ipv6=ipv6)
    every = CIDRS if ipv6 else {cidr}
    assert refused(netns) == every
    family = "-6" if ipv6 else "-4"
    netns.run("ip", family, "route", "flush", "type", "unreachable", "proto", "81", cidr)
    await eventually(lambda: refused(netns) == every)
    await eventually(lambda: rig.counter("drift_repairs_total", kind="unreachable") == 1)


async def test_it_outlives_the_agent_and_follows_the_network(rig: Rig, netns: Namespace) -> None:
    """t14: The routes that refuse outlive the agent, and follow the cluster's CIDRs."""
    await start(rig)
    await rig.stop()
    assert refused(netns) == CIDRS
    netns.run("ip", "route", "flush", "type", "unreachable")
    await rig.start()
    await eventually(lambda: refused(netns) == CIDRS)
    rig.network(clusterCIDRs=["10.64.0.0/12"])
    await eventually(lambda: refused(netns) == {"10.64.0.0/12"})


async def test_a_restart_writes_nothing(rig: Rig, netns: Namespace) -> None:
    await start(rig)
    await rig.stop()
    calls = rig.runtime.calls
    await rig.start()
    await rig.ready()
    assert rig.runtime.calls == calls
    assert rig.counter("drift_repairs_total", kind="unreachable") == 0

"""What an agent does to a kernel, whichever kernel: the same tests run on the fake and in a real namespace.

Whoever imports the class provides `rig`: kernel with an underlay device that has 198.18.0.1, doubles running.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from quilt_crds.names import vtep_mac
from quilt_delta import Tracked
from quilt_netlink import Address, Delete, Put, Route, Vxlan
from quilt_nodeagent.cni import CONFLIST
from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.kernel.observe import read_fdb, read_neighbours
from tests.support.agent_doubles import GROUP, Rig, eventually
from tests.support.agent_drift_behaviour import DriftBehaviour
from tests.support.agent_route_behaviour import NodeRouteBehaviour
from tests.support.agent_scene import device, mesh, programmed, publish, routed
from tests.support.agent_underlay_behaviour import UnderlayBehaviour


def sources(rig: Rig) -> set[str]:
    return set(rig.runtime.configured[-1].overlay_sources) if rig.runtime.configured else set()


class AgentBehaviour(DriftBehaviour, NodeRouteBehaviour, UnderlayBehaviour):
    @pytest.mark.kernel(short=True)
    async def test_a_node_joins_and_becomes_ready(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        link = device(rig)
        assert (link.mac, link.mtu, link.up) == (vtep_mac("default", "self"), 1450, True)
        assert link.vxlan == Vxlan(100, 4789, "198.18.0.1", learning=False, device=0)
        assert {a.address for a in rig.kernel.addresses(link.index)} == {"10.42.1.0/32"}
        assert rig.runtime.subnet == "10.42.1.0/24"
        assert list(rig.runtime.configured[-1].overlay_sources) == ["198.18.0.2", "198.18.0.3"]
        assert (rig.folder / "conf" / "10-quilt.conflist").exists()
        await eventually(lambda: rig.condition("DataplaneInSync").get("status") == "True")
        assert rig.status()["hostIP"] == "198.18.0.1"
        assert (
            rig.api.objects[f"{GROUP}/quiltnodes"]["self"]["metadata"]["ownerReferences"][0]["kind"] == "Node"
        )

    @pytest.mark.kernel
    async def test_peers_come_and_go(self, rig: Rig) -> None:
        await mesh(rig, 2)
        publish(rig, 3, 4)
        await eventually(lambda: programmed(rig, 2, 3, 4))
        publish(rig, 3, phase="Down")
        rig.api.unclaim("10.42.4.0/24")
        await eventually(lambda: programmed(rig, 2))
        publish(rig, 3)
        await eventually(lambda: programmed(rig, 2, 3))
        assert rig.counter("drift_repairs_total", kind="route") == 0

    async def test_the_runtime_is_sent_the_peers_that_come_and_go_and_all_of_them_after_a_restart(
        self, rig: Rig
    ) -> None:
        await mesh(rig, 2, 3)
        before = len(rig.runtime.changes)
        publish(rig, 4)
        publish(rig, 3, phase="Down")
        await eventually(lambda: sources(rig) == {"198.18.0.2", "198.18.0.4"})
        changes = rig.runtime.changes[before:]
        assert {host for change in changes for host in change.add} == {"198.18.0.4"}
        assert {host for change in changes for host in change.remove} == {"198.18.0.3"}
        await rig.runtime.stop()
        rig.runtime.configured.clear()
        await rig.runtime.start()
        await eventually(lambda: sources(rig) == {"198.18.0.2", "198.18.0.4"})
        assert rig.runtime.configured[0].cluster_cidrs == ["10.42.0.0/16"]

    async def test_a_node_that_is_down_stays_routed_where_the_network_says_so(self, rig: Rig) -> None:
        await mesh(rig, 2)
        rig.network(nodeDownPolicy="Keep")
        publish(rig, 2, phase="Down")
        publish(rig, 3)
        await eventually(lambda: programmed(rig, 2, 3))

    @pytest.mark.kernel
    async def test_two_peers_swap_their_host_addresses(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        rig.api.claim("10.42.2.0/24", "n2", "198.18.0.3")
        rig.api.claim("10.42.3.0/24", "n3", "198.18.0.2")
        wanted = {vtep_mac("default", "n2"): "198.18.0.3", vtep_mac("default", "n3"): "198.18.0.2"}
        await eventually(lambda: read_fdb(rig.kernel, device(rig).index) == wanted)

    async def test_row_1_a_peer_deleted_while_the_agent_is_down_leaves_nothing(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        await rig.stop()
        assert programmed(rig, 2, 3)
        rig.api.unclaim("10.42.3.0/24")
        await rig.start()
        await eventually(lambda: programmed(rig, 2))

    @pytest.mark.kernel
    async def test_a_restart_writes_nothing(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        await rig.stop()
        calls = rig.runtime.calls
        agent = await rig.start()
        await rig.ready()
        assert agent.reconciler.verified
        for kind in ("neighbour", "fdb", "route"):
            assert rig.counter("kernel_writes_total", kind=kind) == 0
        assert rig.runtime.calls == calls

    async def test_nothing_is_touched_before_the_first_complete_list(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        await rig.stop()
        rig.api.refuse = 503
        rig.api.requests.clear()
        agent = await rig.start()
        await eventually(lambda: rig.api.count("GET", "quiltsubnets") > 1)
        assert programmed(rig, 2, 3)
        assert not agent.report.dead()
        assert "the first list of QuiltSubnets is not there yet" in agent.report.unready()
        rig.api.refuse = 0
        await rig.ready()
        assert programmed(rig, 2, 3)

    async def test_row_24_a_node_gets_its_cni_configuration_once_it_is_in_sync(self, rig: Rig) -> None:
        """FIELD-BUGS 24: Node Ready while the agent is not. Row 23: removed on restart, it blocks DEL."""
        written = rig.folder / "conf" / CONFLIST
        rig.network()
        await rig.start()
        await eventually(lambda: "this node has no subnet" in rig.agent.report.unready())
        assert not written.exists()
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        await rig.ready()
        assert written.exists()
        await rig.stop()
        assert written.exists(), "a restart of the agent stops no pod from being deleted"

    async def test_a_label_of_the_node_decides_about_its_cni_configuration(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quilt_nodeagent.sources._LABEL_AGAIN", 0.05)
        written = rig.folder / "conf" / CONFLIST
        rig.cni = replace(rig.cni, install="labelled")
        await mesh(rig, 2)
        await eventually(lambda: rig.condition("CNIInstalled").get("reason") == "NotLabelled")
        assert not written.exists()
        assert rig.agent.report.unready() == []
        rig.node(**{"quilt.io/cni": "quilt"})
        await eventually(lambda: rig.condition("CNIInstalled").get("status") == "True")
        assert written.exists()
        rig.node()
        await eventually(lambda: rig.condition("CNIInstalled").get("status") == "False")
        assert not written.exists()
        await rig.stop()
        rig.cni = replace(rig.cni, install="always")
        await rig.start()
        await eventually(lambda: written.exists() and not rig.condition("CNIInstalled"))

    async def test_row_24_a_dead_peer_makes_nobody_unready(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        before = len(rig.runtime.configured)
        against: list[str] = []

        def gone() -> bool:
            against.extend(rig.agent.report.unready())
            return programmed(rig, 2) and len(rig.runtime.configured) > before

        publish(rig, 3, phase="Down")
        await eventually(gone)
        assert against == []

    @pytest.mark.kernel
    async def test_foreign_routes_and_devices_stay(self, rig: Rig) -> None:
        rig.network()
        eth0 = rig.kernel.link("eth0")
        assert eth0 is not None
        foreign = Route("10.42.77.0/24", 4, ifindex=eth0.index, scope=253)
        stale = Route("10.42.78.0/24", 81, ifindex=eth0.index, scope=253)
        for route in (foreign, stale):
            rig.kernel.run(Put(route))
        await mesh(rig, 2)
        prefixes = {route.prefix for route in rig.kernel.routes() if route.ifindex == eth0.index}
        assert foreign.prefix in prefixes
        assert stale.prefix not in prefixes

    async def test_row_5_a_changed_host_address_is_followed(self, rig: Rig) -> None:
        await mesh(rig, 2)
        eth0 = rig.kernel.link("eth0")
        assert eth0 is not None
        rig.kernel.run(Put(Address(eth0.index, "198.18.1.7/24")))
        node = rig.api.objects["/api/v1/nodes"]["self"]
        rig.api.put(
            "/api/v1/nodes",
            {**node, "status": {"addresses": [{"type": "InternalIP", "address": "198.18.1.7"}]}},
        )
        rig.kernel.run(Delete(Address(eth0.index, "198.18.0.1/24")))
        await eventually(lambda: (v := device(rig).vxlan) is not None and v.local == "198.18.1.7")
        await eventually(lambda: rig.status().get("hostIP") == "198.18.1.7" and programmed(rig, 2))

    async def test_a_changed_underlay_mtu_is_followed(self, rig: Rig) -> None:
        await mesh(rig, 2)
        eth0 = rig.kernel.link("eth0")
        assert eth0 is not None
        rig.kernel.run(Put(replace(eth0, mtu=1400)))
        await eventually(lambda: device(rig).mtu == 1350)
        await eventually(lambda: rig.runtime.configured[-1].mtu == 1350)

    async def test_a_lost_runtime_keeps_the_kernel_and_catches_up(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        await rig.runtime.stop()
        await eventually(lambda: not rig.agent.runtime.reachable)
        publish(rig, 4)
        publish(rig, 3, phase="Down")
        await eventually(lambda: rig.agent.reconciler.problems)
        assert routed(rig).keys() == {"10.42.2.0/24", "10.42.3.0/24"}
        # What still has a route keeps what the route rests on.
        assert "198.18.0.3" in read_fdb(rig.kernel, device(rig).index).values()
        rig.runtime.subnet, before = "", len(rig.runtime.configured)
        await rig.runtime.start()
        await eventually(lambda: programmed(rig, 2, 4) and rig.runtime.subnet == "10.42.1.0/24")
        assert len(rig.runtime.configured) > before

    async def test_a_refused_route_is_tried_again_and_spoils_no_other(self, rig: Rig) -> None:
        rig.runtime.refuse.add("10.42.2.0/24")
        rig.network()
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        publish(rig, 2, 3)
        await rig.start()
        await eventually(lambda: "10.42.2.0/24" in rig.condition("DataplaneInSync").get("message", ""))
        assert routed(rig).keys() == {"10.42.3.0/24"}
        rig.runtime.refuse.clear()
        await eventually(lambda: programmed(rig, 2, 3))

    async def test_a_lost_claim_keeps_everything_and_says_so(self, rig: Rig) -> None:
        await mesh(rig, 2)
        rig.api.unclaim("10.42.1.0/24")
        await eventually(lambda: rig.condition("ClaimLost").get("status") == "True")
        assert programmed(rig, 2)
        assert {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.1.0/32"}
        assert "this node has no subnet" in rig.agent.report.unready()

    async def test_row_2_another_subnet_is_reported_while_pods_hold_the_old_one(self, rig: Rig) -> None:
        await mesh(rig, 2)
        rig.runtime.refuse.add("10.42.9.0/24")
        rig.api.unclaim("10.42.1.0/24")
        rig.api.claim("10.42.9.0/24", "self", "198.18.0.1")
        await eventually(
            lambda: "3 addresses are allocated" in rig.condition("DataplaneInSync").get("message", "")
        )
        rig.runtime.refuse.clear()
        rig.api.unclaim("10.42.9.0/24")
        rig.api.claim("10.42.8.0/24", "self", "198.18.0.1")
        await eventually(lambda: rig.runtime.subnet == "10.42.8.0/24")
        await eventually(
            lambda: {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.8.0/32"}
        )

    async def test_a_silent_api_costs_nothing_and_a_relist_catches_up(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        rig.api.refuse = 500
        rig.api.cut()
        rig.kernel.run(Delete(device(rig)))
        await eventually(lambda: programmed(rig, 2, 3))
        publish(rig, 4)
        rig.api.unclaim("10.42.2.0/24")
        rig.api.expire()
        rig.api.refuse = 0
        await eventually(lambda: programmed(rig, 3, 4))

    async def test_a_bad_claim_is_left_out_and_holds_nobody_up(self, rig: Rig) -> None:
        await mesh(rig, 2)
        rig.api.claim("10.42.5.7/24", "n5", "198.18.0.5")
        rig.api.claim("10.42.6.0/24", "n6", "not an address")
        publish(rig, 3)
        await eventually(lambda: programmed(rig, 2, 3))

    async def test_a_deleted_quiltnode_is_made_again_while_its_node_exists(self, rig: Rig) -> None:
        await mesh(rig, 2)
        nodes = f"{GROUP}/quiltnodes"
        rig.api.delete(nodes, "self")
        await eventually(lambda: rig.status().get("hostIP") == "198.18.0.1")
        node = rig.api.objects["/api/v1/nodes"].pop("self")
        rig.api.delete(nodes, "self")
        asked = rig.api.count("GET", "/nodes/self")
        await eventually(lambda: rig.api.count("GET", "/nodes/self") > asked + 1)
        assert "self" not in rig.api.objects[nodes]
        rig.api.put("/api/v1/nodes", node)
        await eventually(lambda: "self" in rig.api.objects[nodes])
        assert programmed(rig, 2)

    async def test_an_administrators_host_address_is_used_as_it_is(self, rig: Rig) -> None:
        await mesh(rig, 2)
        eth0 = rig.kernel.link("eth0")
        assert eth0 is not None
        rig.kernel.run(Put(Address(eth0.index, "198.18.9.9/24")))
        nodes = f"{GROUP}/quiltnodes"
        rig.api.put(nodes, {**rig.api.objects[nodes]["self"], "spec": {"hostIP": "198.18.9.9"}})
        await eventually(lambda: (v := device(rig).vxlan) is not None and v.local == "198.18.9.9")
        await eventually(lambda: "spec.hostIP" in rig.condition("DataplaneInSync").get("message", ""))

    @pytest.mark.kernel
    async def test_row_10_an_ipv6_underlay_and_ipv6_subnets(self, rig: Rig) -> None:
        eth0 = rig.kernel.link("eth0")
        assert eth0 is not None
        rig.kernel.run(Put(Address(eth0.index, "2001:db8::1/64")))
        rig.network(clusterCIDRsV6=["fd42::/48"])
        node = rig.api.objects["/api/v1/nodes"]["self"]
        status = {"addresses": [{"type": "InternalIP", "address": "2001:db8::1"}]}
        rig.api.put("/api/v1/nodes", {**node, "status": status})
        for number, name in ((1, "self"), (2, "n2")):
            rig.api.claim(f"10.42.{number}.0/24", name, f"2001:db8::{number}")
            rig.api.claim(f"fd42:0:0:{number}::/64", name, f"2001:db8::{number}")
        await rig.start()
        await rig.ready()
        link, mac = device(rig), vtep_mac("default", "n2")
        assert (link.mtu, link.vxlan) == (1430, Vxlan(100, 4789, "2001:db8::1"))
        assert read_neighbours(rig.kernel, link.index) == {"10.42.2.0": mac, "fd42:0:0:2::": mac}
        assert read_fdb(rig.kernel, link.index) == {mac: "2001:db8::2"}
        assert routed(rig)["fd42:0:0:2::/64"] == Hop("fd42:0:0:2::", "vxlan100")
        addresses = {a.address for a in rig.kernel.addresses(link.index) if a.scope == 0}
        assert addresses == {"10.42.1.0/32", "fd42:0:0:1::/128"}
        assert (rig.runtime.subnet, rig.runtime.subnet_v6) == ("10.42.1.0/24", "fd42:0:0:1::/64")

    async def test_a_node_of_a_dual_stack_network_waits_for_its_second_subnet(self, rig: Rig) -> None:
        rig.network(clusterCIDRsV6=["fd42::/48"])
        publish(rig, 2)
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        await rig.start()
        await eventually(lambda: rig.agent.report.unready()[:1] == ["this node has no IPv6 subnet"])
        await eventually(lambda: rig.runtime.subnet == "10.42.1.0/24")
        conflist = (rig.folder / "conf") / "10-quilt.conflist"
        assert not conflist.exists()
        rig.api.claim("fd42:0:0:1::/64", "self", "198.18.0.1")
        await rig.ready()
        assert conflist.exists()
        assert rig.runtime.subnet_v6 == "fd42:0:0:1::/64"

    async def test_a_look_in_the_midst_of_changes_keeps_no_second_copy_of_the_rest(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        tables = rig.agent.dataplane.tables
        of_peers: list[Tracked[str, Any]] = [tables.neighbours, tables.fdb, tables.routes]
        for table in of_peers:
            table.want(next(iter(table.desired)), None)
        rig.agent.dataplane.look()
        for table in of_peers:
            assert len(table.desired) == 1
            assert len(table.actual) == 2
            assert all(table.held(key) is value for key, value in table.desired.items())
        assert len(rig.agent.dataplane.routes.others) < 2

    async def test_row_6_a_start_with_thousands_of_peers_does_not_stop_at_a_queues_size(
        self, rig: Rig
    ) -> None:
        rig.network(clusterCIDRs=["10.0.0.0/8"])
        for n in range(6000):
            rig.api.claim(f"10.{n // 250}.{n % 250}.0/24", f"n{n}", f"198.18.{n // 250}.{n % 250 + 1}")
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        await rig.start()
        await eventually(lambda: rig.agent.reconciler.verified)
        index = device(rig).index
        assert len(routed(rig)) == len(rig.kernel.neighbours(index)) == len(rig.kernel.fdb(index)) == 6000
        assert rig.counter("peers_in_sync") == rig.counter("peers_desired") == 6000

    async def test_bursts_end_in_the_last_state(self, rig: Rig) -> None:
        await mesh(rig, 2)
        for _ in range(20):
            publish(rig, 3, 4, 5)
            await asyncio.sleep(0)
            for number in (3, 4, 5):
                rig.api.unclaim(f"10.42.{number}.0/24")
        publish(rig, 6)
        await eventually(lambda: programmed(rig, 2, 6))
        await rig.ready()

"""What others do to device and entries, and what the agent does about it; run on both kernels."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from quilt_crds.names import vtep_mac
from quilt_netlink import Address, Delete, FdbEntry, Link, Neighbour, Nexthop, Put, Vxlan
from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_scene import device, mesh, programmed


def repaired(rig: Rig, kind: str, before: float) -> bool:
    return rig.counter("drift_repairs_total", kind=kind) > before


def drift_events(rig: Rig) -> list[str]:
    """What Events about the node report of drift."""
    return rig.events("DriftRepaired")


def counted(rig: Rig, kind: str, number: float) -> bool:
    return rig.counter("drift_repairs_total", kind=kind) >= number and programmed(rig, 2, 3)


class DriftBehaviour:
    async def test_row_3_a_deleted_device_is_made_again_with_all_its_peers(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        rig.kernel.run(Delete(device(rig)))
        await eventually(lambda: programmed(rig, 2, 3) and not rig.agent.report.unready())
        assert rig.counter("drift_repairs_total", kind="link") == 1
        assert {a.address for a in rig.kernel.addresses(device(rig).index)} == {"10.42.1.0/32"}

    async def test_a_device_with_wrong_parameters_is_repaired(self, rig: Rig) -> None:
        await mesh(rig, 2)
        good = device(rig)
        for wrong in (
            replace(good, mtu=1400),
            replace(good, mac="02:00:00:00:00:01"),
            replace(good, vxlan=Vxlan(100, 4789, "198.18.0.1", learning=True)),
            replace(good, up=False),
        ):
            rig.kernel.run(Put(wrong))
            await eventually(lambda: device(rig) == good and programmed(rig, 2))

    async def test_a_foreign_device_of_our_name_with_another_vni_is_replaced(self, rig: Rig) -> None:
        rig.kernel.run(Put(Link("vxlan100", kind="vxlan", up=True, vxlan=Vxlan(7, 4789, "198.18.0.1"))))
        await mesh(rig, 2)
        assert device(rig).vxlan == Vxlan(100, 4789, "198.18.0.1")

    async def test_row_11_a_taken_vni_is_reported_with_the_name_of_its_holder(self, rig: Rig) -> None:
        rig.kernel.run(Put(Link("other0", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "198.18.0.1"))))
        rig.network()
        await rig.start()
        await eventually(lambda: "other0" in rig.condition("DataplaneInSync").get("message", ""))
        assert rig.kernel.link("other0") is not None
        assert rig.condition("DataplaneInSync")["status"] == "False"

    async def test_a_vni_that_is_taken_later_is_in_the_metric_until_it_is_free(self, rig: Rig) -> None:
        await mesh(rig, 2)

        def in_sync(value: int) -> bool:
            return f"quilt_agent_in_sync {value}.0" in rig.agent.report.metrics().decode()

        await eventually(lambda: in_sync(1))
        rig.kernel.run(Delete(device(rig)))
        rig.kernel.run(Put(Link("other0", kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "198.18.0.1"))))
        await eventually(lambda: in_sync(0))
        other = rig.kernel.link("other0")
        assert other is not None
        rig.kernel.run(Delete(other))
        await eventually(lambda: programmed(rig, 2) and in_sync(1))

    async def test_every_drift_of_an_entry_is_repaired_and_counted(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        index, mac = device(rig).index, vtep_mac("default", "n2")
        drifts: list[tuple[str, Any]] = [
            ("neighbour", Delete(Neighbour(index, "10.42.2.0", mac))),
            ("neighbour", Put(Neighbour(index, "10.42.2.0", "02:00:00:00:00:09"))),
            ("neighbour", Put(Neighbour(index, "10.42.99.0", "02:00:00:00:00:09"))),
            ("fdb", Delete(FdbEntry(index, mac, "198.18.0.2"))),
            ("fdb", Put(FdbEntry(index, mac, "198.18.0.99"))),
            ("fdb", Put(FdbEntry(index, "02:00:00:00:00:09", "198.18.0.99"))),
            ("address", Delete(Address(index, "10.42.1.0/32"))),
        ]
        for kind, drift in drifts:
            before = rig.counter("drift_repairs_total", kind=kind)
            rig.kernel.run(drift)
            await eventually(partial(repaired, rig, kind, before))
            await eventually(lambda: programmed(rig, 2, 3))

    async def test_a_route_that_is_lost_before_the_runtime_answers_comes_back(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        meddled = asyncio.Event()

        def known() -> bool:
            return rig.agent.dataplane.tables.routes.held("10.42.2.0/24") is not None

        def remove() -> None:
            held = rig.kernel.routes(protocol=81)
            rig.kernel.run(Delete(next(route for route in held if route.prefix == "10.42.2.0/24")))

        async def meddle() -> None:
            await eventually(known)
            remove()
            await eventually(lambda: not known())
            meddled.set()

        rig.runtime.before_answer = meddle
        remove()
        await meddled.wait()
        await eventually(lambda: programmed(rig, 2, 3))

    async def test_a_route_or_nexthop_that_is_deleted_comes_back(self, rig: Rig) -> None:
        await mesh(rig, 2, 3)
        route = next(r for r in rig.kernel.routes(protocol=81) if r.prefix == "10.42.2.0/24")
        rig.kernel.run(Delete(route))
        await eventually(
            lambda: rig.counter("drift_repairs_total", kind="route") == 1 and programmed(rig, 2, 3)
        )
        nexthop = next(n for n in rig.kernel.nexthops(protocol=81) if n.gateway == "10.42.3.0")
        rig.kernel.run(Delete(Nexthop(nexthop.id, nexthop.ifindex)))
        await eventually(
            lambda: rig.counter("drift_repairs_total", kind="nexthop") == 1 and programmed(rig, 2, 3)
        )

    async def test_a_storm_of_drift_is_one_event_for_each_kind_that_others_change(self, rig: Rig) -> None:
        """What comes again is counted, and another kind has an Event of its own."""
        await mesh(rig, 2, 3)
        for number in range(1, 21):
            for route in rig.kernel.routes(protocol=81):
                if route.prefix == "10.42.2.0/24":
                    rig.kernel.run(Delete(route))
            await eventually(partial(counted, rig, "route", number))
        await eventually(lambda: drift_events(rig))
        assert len(drift_events(rig)) == 1
        rig.kernel.run(Delete(FdbEntry(device(rig).index, vtep_mac("default", "n2"), "198.18.0.2")))
        await eventually(lambda: len(drift_events(rig)) == 2)
        head = "Others changed or removed what the mesh needs on this node; repaired"
        assert drift_events(rig)[0].startswith(f"{head}: route")
        assert drift_events(rig)[1] == f"{head}: fdb."

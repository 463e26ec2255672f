"""Events: what each looks like, filters, several subscribers, lag with the exact number missed, and ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_pim.core.events import (
    EVENT_TYPES,
    PIM_HELLO,
    Event,
    EventType,
    IgmpMembershipChange,
    MsdpSaCacheChange,
    PimNeighborChange,
    PimRouteChange,
    Source,
    event_type,
)
from quilt_pim.core.neighbors import External
from quilt_pim.core.ring import Cursor, Missed, Ring
from quilt_pim.subscriptions import Pace
from tests.support.control_doubles import Client, Running, eventually, serving

JOIN = IgmpMembershipChange("eth0", "239.1.1.1", "Join", "10.0.0.5", 1706012345)
NEIGHBOR = PimNeighborChange("eth0", "10.0.0.2", "Up", Source(external=True, tag="babel"), 1706012345)
ROUTE = PimRouteChange("SG", "239.1.1.1", "10.1.0.5", "Add", 1706012345)
SOURCE = MsdpSaCacheChange("10.1.0.5", "239.1.1.1", "10.0.0.9", "Refresh", 1706012345)
ALL: list[Event] = [JOIN, NEIGHBOR, ROUTE, SOURCE]

WIRE: dict[str, dict[str, Any]] = {
    "IgmpMembership": {
        "event": "IgmpMembershipChange",
        "interface": "eth0",
        "group": "239.1.1.1",
        "action": "Join",
        "reporter": "10.0.0.5",
        "timestamp": 1706012345,
    },
    "PimNeighbor": {
        "event": "PimNeighborChange",
        "interface": "eth0",
        "neighbor": "10.0.0.2",
        "action": "Up",
        "source": {"External": {"tag": "babel"}},
        "timestamp": 1706012345,
    },
    "PimRoute": {
        "event": "PimRouteChange",
        "route_type": "SG",
        "group": "239.1.1.1",
        "source": "10.1.0.5",
        "action": "Add",
        "timestamp": 1706012345,
    },
    "MsdpSaCache": {
        "event": "MsdpSaCacheChange",
        "source": "10.1.0.5",
        "group": "239.1.1.1",
        "rp": "10.0.0.9",
        "action": "Refresh",
        "timestamp": 1706012345,
    },
}


class TestRing:
    @given(
        st.integers(1, 8),
        st.lists(st.sampled_from([*ALL, "read"]), max_size=60),
        st.sets(st.sampled_from(EVENT_TYPES), min_size=1),
    )
    def test_what_is_read_and_what_is_reported_missed_is_all_there_was(
        self, size: int, steps: list[Event | str], types: set[EventType]
    ) -> None:
        ring = Ring(size)
        cursor = Cursor(ring, types)
        published, wanted, read, missed = 0, 0, 0, 0
        for step in [*steps, *["read"] * (size + 2)]:
            if isinstance(step, str):
                item = cursor.read()
                if isinstance(item, Missed):
                    missed += item.count
                elif item is not None:
                    assert event_type(item) in types
                    read += 1
            else:
                ring.publish(step)
                published += 1
                wanted += event_type(step) in types
        assert (read + missed, cursor.read()) == (wanted, None)
        assert missed == 0 or published > size

    def test_events_of_other_types_push_none_out_unnoticed_and_none_are_counted(self) -> None:
        ring = Ring(2)
        cursor = Cursor(ring, [EventType.PIM_ROUTE])
        for event in (ROUTE, JOIN, ROUTE, JOIN, JOIN):
            ring.publish(event)
        assert cursor.read() == Missed(2)
        assert cursor.read() is None
        quiet = Cursor(ring, [EventType.MSDP_SA_CACHE])
        for _ in range(5):
            ring.publish(JOIN)
        assert quiet.read() is None


def test_the_pace_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    pace = Pace(rate=10, burst=3, now=0.0)
    assert [pace.wait(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert pace.wait(0.0) == pytest.approx(0.1)
    assert pace.wait(0.0) == pytest.approx(0.2)
    assert pace.wait(10.0) == 0.0


@pytest.mark.parametrize(
    "names",
    [
        *([name] for name in WIRE),
        ["IgmpMembership", "PimNeighbor"],
        ["PimRoute", "MsdpSaCache"],
        list(WIRE),
    ],
)
async def test_one_two_or_all_types(running: Running, client: Client, names: list[str]) -> None:
    reply = await client.ok("Subscribe", events=names)
    assert reply["events"] == names
    for event in ALL:
        running.plane.publish(event)
    assert [await client.event() for _ in names] == [WIRE[name] for name in WIRE if name in names]
    # Nothing of the other types is on its way: the next line is the reply to this.
    assert (await client.ok("ListSubscriptions"))["subscriptions"] == [
        {"subscription_id": reply["subscription_id"], "events": names}
    ]
    assert client.events == []


async def test_optional_fields_are_null(running: Running, client: Client) -> None:
    await client.ok("Subscribe", events=list(WIRE))
    before = int(time.time())
    running.plane.publish(IgmpMembershipChange("eth0", "239.1.1.1", "Leave"))
    running.plane.publish(PimRouteChange("StarG", "239.1.1.1", None, "Remove"))
    running.plane.publish(PimNeighborChange("eth0", "10.0.0.2", "Down", PIM_HELLO))
    leave, route, neighbor = [await client.event() for _ in range(3)]
    assert (leave["action"], leave["reporter"]) == ("Leave", None)
    assert (route["route_type"], route["source"], route["action"]) == ("StarG", None, "Remove")
    assert (neighbor["action"], neighbor["source"]) == ("Down", "PimHello")
    assert all(before <= item["timestamp"] <= int(time.time()) for item in (leave, route, neighbor))


async def test_changes_of_neighbors_and_sources_are_published(
    running: Running, client: Client, multicast_interface: str
) -> None:
    await client.ok("Subscribe", events=["PimNeighbor", "MsdpSaCache"])
    where = {"address": "10.0.0.2", "interface": multicast_interface}
    await client.ok("AddExternalNeighbor", neighbor={**where, "tag": "babel"})
    await client.ok("RemoveExternalNeighbor", **where)
    running.plane.set_mesh([("b", "10.42.2.0")])
    what = {"source": "10.1.0.5", "group": "239.1.1.1", "rp": "10.0.0.9"}
    actions = [(await client.ok("AnnounceSource", **what))["action"] for _ in range(2)]
    await client.ok("WithdrawSource", **what)
    events = [await client.event() for _ in range(6)]
    assert [(e["neighbor"], e["action"]) for e in events[:3]] == [
        ("10.0.0.2", "Up"),
        ("10.0.0.2", "Down"),
        ("10.42.2.0", "Up"),
    ]
    assert events[2]["source"] == {"External": {"tag": "quilt-mesh/b"}}
    assert [e["action"] for e in events[3:]] == [*actions, "Remove"] == ["Add", "Refresh", "Remove"]


async def test_every_subscriber_has_its_own_filter_and_order_holds(running: Running) -> None:
    one, two, three = [await running.client() for _ in range(3)]
    await one.ok("Subscribe", events=["IgmpMembership"])
    await two.ok("Subscribe", events=["PimRoute", "IgmpMembership"])
    await three.ok("Subscribe", events=list(WIRE))
    for event in (ROUTE, JOIN, NEIGHBOR):
        running.plane.publish(event)
    assert [(await one.event())["event"]] == ["IgmpMembershipChange"]
    assert [(await two.event())["event"] for _ in range(2)] == ["PimRouteChange", "IgmpMembershipChange"]
    assert [(await three.event())["event"] for _ in range(3)][2] == "PimNeighborChange"


async def test_unsubscribe_by_id_ends_that_one_alone(running: Running, client: Client) -> None:
    joins = (await client.ok("Subscribe", events=["IgmpMembership"]))["subscription_id"]
    routes = (await client.ok("Subscribe", events=["PimRoute"]))["subscription_id"]
    assert (await client.ok("Unsubscribe", subscription_id=joins))["subscription_id"] == joins
    running.plane.publish(JOIN)
    running.plane.publish(ROUTE)
    assert (await client.event())["event"] == "PimRouteChange"
    assert [s["subscription_id"] for s in (await client.ok("ListSubscriptions"))["subscriptions"]] == [routes]
    assert "no subscription" in await client.refused("Unsubscribe", subscription_id=joins)


async def test_errors_of_subscriptions(running: Running, client: Client) -> None:
    assert "name at least one" in await client.refused("Subscribe", events=[])
    assert "'Igmp' is not known" in await client.refused("Subscribe", events=["Igmp"])
    assert "missing required field `events`" in await client.refused("Subscribe")
    assert "Expected `int`" in await client.refused("Unsubscribe", subscription_id="1")
    other = await running.client()
    number = (await other.ok("Subscribe", events=["PimRoute"]))["subscription_id"]
    # Another connection's subscription does not concern this one.
    assert "no subscription" in await client.refused("Unsubscribe", subscription_id=number)
    assert (await client.ok("ListSubscriptions"))["subscriptions"] == []
    for _ in range(16):
        await client.ok("Subscribe", events=["PimRoute"])
    assert "16 subscriptions already" in await client.refused("Subscribe", events=["PimRoute"])


async def test_subscriptions_end_with_their_client(running: Running) -> None:
    gone, stays = await running.client(), await running.client()
    await gone.ok("Subscribe", events=list(WIRE))
    await stays.ok("Subscribe", events=["PimRoute"])
    waiting = running.plane.broadcast.waiting
    await eventually(lambda: len(waiting) == 2)
    await gone.close()
    await eventually(lambda: len(waiting) == 1)
    running.plane.publish(ROUTE)
    assert (await stays.event())["event"] == "PimRouteChange"


async def test_a_slow_subscriber_is_notified_how_many_it_missed_and_holds_nobody_up(tmp_path: Path) -> None:
    async with serving(tmp_path, event_buffer_size=16, event_rate=1_000_000) as running:
        slow, quick = await running.client(limit=1024), await running.client()
        await slow.ok("Subscribe", events=["PimRoute"])
        await quick.ok("Subscribe", events=["PimRoute"])
        number = 0
        # Until the sockets' buffers are full the slow one misses nothing: fill them, and go on a good while.
        ring = running.plane.broadcast.ring
        while running.plane.counters["events_delivered"] > 2 * number - 100:
            running.plane.publish(PimRouteChange("SG", "239.1.1.1", "10.1.0.5", "Update", number))
            number += 1
            assert (await quick.event())["timestamp"] == number - 1
            assert number < 100_000
        assert ring.next == number
        seen, missed = 0, 0
        while seen + missed < number:
            event = await slow.event()
            if event["event"] == "Lagged":
                assert event["missed"] > 0
                missed += event["missed"]
            else:
                assert event["timestamp"] == seen + missed
                seen += 1
        assert seen + missed == number
        assert missed > 0


async def test_delivery_is_rate_limited_and_what_overflows_is_reported(tmp_path: Path) -> None:
    async with serving(tmp_path, event_buffer_size=4, event_rate=1) as running:
        client = await running.client()
        number = (await client.ok("Subscribe", events=["PimRoute"]))["subscription_id"]
        for count in range(4):
            running.plane.publish(PimRouteChange("SG", "239.1.1.1", "10.1.0.5", "Update", count))
        assert [(await client.event())["timestamp"] for _ in range(4)] == [0, 1, 2, 3]
        # The burst is used up: the fifth waits for its turn, and those after it push each other out.
        running.plane.publish(ROUTE)
        await asyncio.sleep(0)
        for count in range(10):
            running.plane.publish(PimRouteChange("SG", "239.1.1.1", "10.1.0.5", "Update", count))
        assert (await client.event())["timestamp"] == ROUTE.timestamp
        lag = await client.event()
        assert (lag["event"], lag["subscription_id"], lag["missed"]) == ("Lagged", number, 6)
        assert set(lag) == {"event", "subscription_id", "missed", "timestamp"}
        assert running.plane.counters["events_missed"] == 6


async def test_announced_sources_are_listed_checked_and_expire(running: Running, client: Client) -> None:
    what = {"source": "10.1.0.5", "group": "239.1.1.1", "rp": "10.0.0.9"}
    await client.ok("Subscribe", events=["MsdpSaCache"])
    await client.ok("AnnounceSource", **what)
    [only] = (await client.ok("GetMsdpSaCache"))["sources"]
    assert {key: only[key] for key in what} == what
    # Only now with a time that ends soon: it cannot be over before the list is read.
    await client.ok("AnnounceSource", **what, holdtime=1)
    assert [(await client.event())["action"] for _ in range(3)] == ["Add", "Refresh", "Remove"]
    assert (await client.ok("GetMsdpSaCache"))["sources"] == []
    assert "is not announced" in await client.refused("WithdrawSource", **what)
    assert "not a multicast group" in await client.refused("AnnounceSource", **{**what, "group": "10.0.0.1"})
    assert "out of range" in await client.refused("AnnounceSource", **what, holdtime=0)


async def test_a_source_active_message_is_checked_by_rpf(running: Running, client: Client) -> None:
    what = {"source": "10.1.0.5", "group": "239.1.1.1", "rp": "10.0.0.9"}
    await client.ok("SetRpfProvider", provider="static")
    refused = await client.refused("AnnounceSource", **what, interface="eth0")
    assert refused.endswith("fails the RPF check: no static RPF route holds 10.0.0.9")
    await client.ok("AddRpfRoute", source="10.0.0.9", rpf={"upstream_interface": "eth1"})
    assert "upstream on eth1, not on eth0" in await client.refused("AnnounceSource", **what, interface="eth0")
    await client.ok("AnnounceSource", **what, interface="eth1")
    assert running.plane.counters["sources_refused"] == 2


async def test_events_before_a_subscription_are_not_delivered(running: Running, client: Client) -> None:
    running.plane.neighbors.add("eth0", "10.0.0.2", External())
    running.plane.publish(NEIGHBOR)
    await client.ok("Subscribe", events=["PimNeighbor", "PimRoute"])
    running.plane.publish(ROUTE)
    assert (await client.event())["event"] == "PimRouteChange"

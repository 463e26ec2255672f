"""PIM on a real link: Hellos make neighbors, Join/Prune counts from neighbors alone, and RPF decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from quilt_pim.core.pim import Hello
from tests.support.control_doubles import Client, Provider, Running, eventually, serving
from tests.support.pim_speaker import Speaker, entered, until_up

GROUP, SOURCE = "239.1.1.1", "10.7.0.5"
NEIGHBOR = {"address": "10.9.0.2", "interface": "eth1"}


@pytest_asyncio.fixture
async def running(link: Any, tmp_path: Path) -> AsyncIterator[Running]:
    """A control plane on the node that listens on eth1 without speaking."""
    async with serving(tmp_path) as made:
        client = await made.client()
        await client.ok("EnablePim", interface="eth1", passive=True)
        yield made


@pytest_asyncio.fixture
async def client(running: Running) -> Client:
    made = await running.client()
    await made.ok("Subscribe", events=["PimNeighbor", "PimRoute"])
    return made


async def counted(running: Running, name: str, count: int = 1) -> None:
    await eventually(lambda: running.plane.counters[name] >= count)


async def routes(client: Client) -> list[Any]:
    found = (await client.ok("GetMroute"))["routes"]
    return [(r["route_type"], r["source"], r["group"], r["output_interfaces"]) for r in found]


async def test_a_hello_makes_a_neighbor_and_a_goodbye_ends_it(client: Client, speaker: Any) -> None:
    speaker.hello(priority=5)
    event = await client.event()
    assert {key: event[key] for key in ("event", "interface", "neighbor", "action", "source")} == {
        "event": "PimNeighborChange",
        "interface": "eth1",
        "neighbor": "10.9.0.2",
        "action": "Up",
        "source": "PimHello",
    }
    [held] = (await client.ok("GetPimNeighbors"))["neighbors"]
    assert (held["dr_priority"], held["generation_id"], held["is_dr"]) == (5, 7, True)
    assert 100 <= held["expires_in_secs"] <= 105
    speaker.hello(holdtime=0)
    assert (await client.event())["action"] == "Down"


async def test_without_hellos_a_neighbor_expires(client: Client, speaker: Any) -> None:
    speaker.hello(holdtime=1)
    assert (await client.event())["action"] == "Up"
    assert (await client.event())["action"] == "Down"


async def test_a_join_of_an_external_neighbor_is_accepted_without_any_hello(
    client: Client, speaker: Any
) -> None:
    await client.ok("AddExternalNeighbor", neighbor={**NEIGHBOR, "tag": "babel"})
    assert (await client.event())["action"] == "Up"
    speaker.join(GROUP, SOURCE)
    event = await client.event()
    assert (event["event"], event["route_type"], event["action"]) == ("PimRouteChange", "SG", "Add")
    assert (event["group"], event["source"]) == (GROUP, SOURCE)
    assert await routes(client) == [("SG", SOURCE, GROUP, ["eth1"])]
    speaker.join(GROUP, "10.9.0.9", wildcard=True)
    event = await client.event()
    assert (event["route_type"], event["source"], event["action"]) == ("StarG", None, "Add")
    speaker.prune(GROUP, SOURCE)
    event = await client.event()
    assert (event["route_type"], event["action"]) == ("SG", "Remove")


async def test_a_join_of_a_stranger_is_refused(
    running: Running, client: Client, speaker: Any, stranger: Any
) -> None:
    await client.ok("AddExternalNeighbor", neighbor=NEIGHBOR)
    assert (await client.event())["action"] == "Up"
    stranger.join(GROUP, SOURCE)
    await counted(running, "stranger_refused")
    assert await routes(client) == []
    # Until it is made a neighbor; and no longer once it is removed.
    await client.ok("AddExternalNeighbor", neighbor={**NEIGHBOR, "address": "10.9.0.3"})
    assert (await client.event())["action"] == "Up"
    stranger.join(GROUP, SOURCE)
    assert (await client.event())["event"] == "PimRouteChange"
    await client.ok("RemoveExternalNeighbor", **{**NEIGHBOR, "address": "10.9.0.3"})
    stranger.join("239.1.1.2", SOURCE)
    await counted(running, "stranger_refused", 2)
    assert len(await routes(client)) == 1


async def test_a_hello_turns_an_external_neighbor_and_removing_the_entry_leaves_it(
    client: Client, speaker: Any
) -> None:
    await client.ok("AddExternalNeighbor", neighbor={**NEIGHBOR, "dr_priority": 9, "tag": "babel"})
    assert (await client.event())["source"] == {"External": {"tag": "babel"}}
    speaker.hello(priority=3)
    event = await client.event()
    assert (event["action"], event["source"]) == ("Up", "PimHello")
    [held] = (await client.ok("ListExternalNeighbors"))["neighbors"]
    assert (held["source"], held["dr_priority"], held["tag"]) == ("PimHello", 3, "babel")
    await client.ok("RemoveExternalNeighbor", **NEIGHBOR)
    assert (await client.ok("ListExternalNeighbors"))["neighbors"] == []
    [held] = (await client.ok("GetPimNeighbors"))["neighbors"]
    assert held["source"] == "PimHello"
    refused = await client.refused("RemoveExternalNeighbor", **NEIGHBOR)
    assert "is not external" in refused
    speaker.join(GROUP, SOURCE)
    assert (await client.event())["event"] == "PimRouteChange"
    assert client.events == []


async def test_who_is_designated_router(
    running: Running, client: Client, speaker: Any, stranger: Any
) -> None:
    async def designated() -> Any:
        [eth1] = (await client.ok("GetPimNeighbors"))["interfaces"]
        return eth1["designated_router"]

    assert await designated() is None
    speaker.hello(priority=1)
    stranger.hello(priority=1)
    assert {(await client.event())["neighbor"] for _ in range(2)} == {"10.9.0.2", "10.9.0.3"}
    assert await designated() == "10.9.0.3"
    speaker.hello(priority=2)
    await counted(running, "hellos_received", 3)
    assert await designated() == "10.9.0.2"
    await client.ok("AddExternalNeighbor", neighbor={**NEIGHBOR, "address": "10.9.0.4", "dr_priority": 8})
    assert await designated() == "10.9.0.4"
    reply = await client.ok("EnablePim", interface="eth1", dr_priority=9)
    assert reply["designated_router"] == "10.9.0.1"
    # One router without the option: all go by address alone.
    speaker.hello(priority=None)
    await counted(running, "hellos_received", 4)
    assert await designated() == "10.9.0.4"


async def test_our_own_hellos(client: Client, speaker: Any) -> None:
    await client.ok("EnablePim", interface="eth1", dr_priority=4)
    hello, ttl = await speaker.hear()
    assert isinstance(hello, Hello)
    assert (hello.holdtime, hello.dr_priority, ttl) == (105, 4, 1)
    assert hello.generation_id is not None
    # A new neighbor hears from us before the next regular one, and gets a goodbye at the end.
    speaker.hello()
    again, _ = await speaker.hear()
    assert again == hello
    await client.ok("DisablePim", interface="eth1")
    goodbye, _ = await speaker.hear()
    assert isinstance(goodbye, Hello)
    assert goodbye.holdtime == 0
    assert (await client.ok("GetPimNeighbors"))["neighbors"] == []


async def test_static_rpf_decides_over_joins(running: Running, client: Client, speaker: Any) -> None:
    await client.ok("SetRpfProvider", provider="static")
    await client.ok("AddExternalNeighbor", neighbor=NEIGHBOR)
    assert (await client.event())["action"] == "Up"
    speaker.join(GROUP, SOURCE)
    await counted(running, "rpf_refused")
    await client.ok("AddRpfRoute", source="10.7.0.0/16", rpf={"upstream_interface": "quilt0"})
    speaker.join(GROUP, SOURCE)
    assert (await client.event())["action"] == "Add"
    [route] = (await client.ok("GetMroute"))["routes"]
    assert (route["input_interface"], route["output_interfaces"]) == ("quilt0", ["eth1"])
    # The way to the source changes to where the join came from: the entry would be a loop, and is removed.
    await client.ok("AddRpfRoute", source=SOURCE, rpf={"upstream_interface": "eth1"})
    assert (await client.event())["action"] == "Remove"
    speaker.join(GROUP, SOURCE)
    await counted(running, "rpf_refused", 3)
    assert await routes(client) == []


async def test_an_external_provider_decides_over_joins_and_fails_closed(
    running: Running, client: Client, speaker: Any, tmp_path: Path
) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers[SOURCE] = {"upstream_interface": "vxlan100", "upstream_neighbor": "10.42.2.0"}
    provider.answers["10.7.0.6"] = b"nonsense\n"
    async with provider.serve():
        await client.ok("SetRpfProvider", provider=str(provider.path))
        await client.ok("AddExternalNeighbor", neighbor=NEIGHBOR)
        assert (await client.event())["action"] == "Up"
        speaker.join(GROUP, SOURCE)
        assert (await client.event())["action"] == "Add"
        speaker.join(GROUP, SOURCE)
        await counted(running, "joins_accepted", 2)
        assert running.plane.counters["rpf_cache_hits"] == 1
        speaker.join(GROUP, "10.7.0.6")
        await counted(running, "rpf_invalid")
        running.plane.rpf._timeout = 0.5
        provider.silent = True
        speaker.join(GROUP, "10.7.0.7")
        await counted(running, "rpf_timeouts")
        await counted(running, "rpf_refused", 2)
        assert await routes(client) == [("SG", SOURCE, GROUP, ["eth1"])]


async def test_what_is_not_for_us_or_not_pim_is_counted_and_does_nothing(
    running: Running, client: Client, speaker: Any
) -> None:
    await client.ok("AddExternalNeighbor", neighbor=NEIGHBOR)
    speaker.join(GROUP, SOURCE, upstream="10.9.0.77")
    await counted(running, "not_for_us")
    speaker.send(b"\x23\x00\x00\x00garbage")
    await counted(running, "pim_invalid")
    speaker.send(b"\x21\x00\x00\x00")
    await counted(running, "pim_ignored")
    speaker.send(b"\x20\x00\xdf\xff", to="10.9.0.1")
    await counted(running, "pim_ignored", 2)
    assert await routes(client) == []


async def test_interfaces_that_cannot_are_refused(running: Running, client: Client, link: Any) -> None:
    link.node.run("ip", "link", "add", "dull0", "type", "veth", "peer", "name", "dull1")
    link.node.run("ip", "link", "set", "dull0", "multicast", "off", "up")
    dull = {**NEIGHBOR, "interface": "dull0"}
    refused = await client.refused("AddExternalNeighbor", neighbor=dull)
    assert refused.startswith("Interface 'dull0' has multicast off")
    refused = await client.refused("EnablePim", interface="dull0")
    assert refused.startswith("Interface 'dull0' has multicast off")
    assert "no interface 'eth7'" in await client.refused("EnablePim", interface="eth7")
    link.node.run("ip", "link", "set", "dull0", "multicast", "on")
    assert "has no IPv4 address" in await client.refused("EnablePim", interface="dull0")
    assert "PIM is not enabled on 'dull0'" in await client.refused("DisablePim", interface="dull0")
    await client.ok("EnablePim", interface="dull0", passive=True)


async def test_an_interface_that_is_made_again_is_listened_to_again(
    link: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the configuration PIM starts on an interface as soon as it is there."""
    monkeypatch.setattr("quilt_pim.speakers.TRIGGERED", 0.05)
    link.node.run("ip", "link", "del", "eth1")
    async with serving(tmp_path, pim_interfaces=("eth1",)) as running:
        client = await running.client()
        await client.ok("Subscribe", events=["PimNeighbor"])
        for _ in range(2):
            link.node.run(
                "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", link.router.name
            )
            link.router.run("ip", "addr", "add", "10.9.0.2/24", "dev", "eth1")
            link.router.run("ip", "link", "set", "eth1", "up")
            link.node.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth1")
            link.node.run("ip", "link", "set", "eth1", "up")
            until_up(link.node, link.router)
            speakers = running.plane.speakers
            await eventually(lambda: speakers.get("eth1").socket is not None)  # noqa: B023
            with entered(link.router.path):
                speaker = Speaker("10.9.0.2")
            speaker.hello()
            assert (await client.event())["action"] == "Up"
            link.node.run("ip", "link", "del", "eth1")
            assert (await client.event())["action"] == "Down"
            speaker.close()

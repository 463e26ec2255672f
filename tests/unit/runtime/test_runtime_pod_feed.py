"""Who reads which pods have an address misses none, and nobody waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from quilt_policy.program import PodName
from quilt_runtime import podfeed
from quilt_runtime.addresses import Addresses
from quilt_runtime.core import cni
from quilt_runtime.core.ipam import Allocation, Owner
from quilt_runtime.podfeed import PodEvent, PodFeed, Reader, SlowReaderError, What
from quilt_runtime.state import FILE, Store

WEB = PodName("default", "web-0", "0b5e4a7e-7d43-4c1f-9d1c-2d5a6f4c8e11")
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1"
OLDER = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE allocations (
  container_id TEXT NOT NULL, interface TEXT NOT NULL, address INTEGER NOT NULL UNIQUE, network TEXT NOT NULL,
  PRIMARY KEY (container_id, interface)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
OLDER_INSERT = "INSERT INTO allocations (container_id, interface, address, network) VALUES (?, ?, ?, ?)"
OLDER_SELECT = "SELECT container_id, interface, address, network FROM allocations"


def allocation(number: int) -> Allocation:
    owner, address = Owner(f"c{number}", "eth0"), IPv4Address("10.42.1.0") + number
    return Allocation(owner, address, "quilt", PodName("default", f"web-{number}", f"uid-{number}"))


async def read(reader: Reader, count: int) -> list[PodEvent]:
    found = []
    async with aclosing(aiter_of(reader)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def aiter_of(reader: Reader) -> AsyncIterator[PodEvent]:
    async for event in reader:
        yield event


async def test_a_reader_gets_all_pods_and_then_what_happens() -> None:
    held = [allocation(2), Allocation(Owner("tap", "tap0"), IPv4Address("10.42.1.9"))]
    feed = PodFeed(lambda: held)
    with feed.waiting(Owner("c5", "eth0"), WEB), feed.reading() as reader:
        await asyncio.to_thread(feed.connected, allocation(3))
        await asyncio.to_thread(feed.disconnected, allocation(2))
        feed.connected(held[1])
        events = await read(reader, 5)
    kinds = [What.CONNECTED, What.WAITING, What.SYNCED, What.CONNECTED, What.DISCONNECTED]
    assert [event.what for event in events] == kinds
    assert (events[0].pod, events[0].owner, events[0].address) == (
        held[0].pod,
        held[0].owner,
        held[0].address,
    )
    assert (events[1].pod, events[1].address) == (WEB, None)
    with feed.reading() as later:
        assert [event.what for event in await read(later, 2)] == [What.CONNECTED, What.SYNCED]


async def test_a_reader_that_is_too_slow_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podfeed, "MOST_UNREAD", 3)
    feed = PodFeed(list)
    with feed.reading() as slow:
        for number in range(2, 8):
            feed.connected(allocation(number))
        with pytest.raises(SlowReaderError, match="3 events were not read"):
            await read(slow, 9)
    with feed.reading() as again:
        assert [event.what for event in await read(again, 1)] == [What.SYNCED]


async def test_readers_end_with_the_feed() -> None:
    feed = PodFeed(list)
    with feed.reading() as reader:
        feed.close()
        assert [event.what for event in await read(reader, 9)] == [What.SYNCED]
    with feed.reading() as late:
        assert len(await read(late, 9)) == 1


@pytest.mark.parametrize(
    ("arguments", "pod"),
    [
        (f"{ARGS};K8S_POD_UID={WEB.uid}", WEB),
        (ARGS, PodName("default", "web-0", "")),
        ("", None),
        ("K8S_POD_NAMESPACE=default", None),
        ('K8S_POD_NAMESPACE=default;K8S_POD_NAME=a"b', None),
        (f"{ARGS};K8S_POD_UID=a b", None),
    ],
)
def test_a_pods_name_is_what_the_engine_passes(arguments: str, pod: PodName | None) -> None:
    assert cni.pod_name({"CNI_ARGS": arguments}) == pod


def test_an_alias_names_a_pod_without_its_uid() -> None:
    assert cni.pod_of_alias("default/web-0") == PodName("default", "web-0", "")
    assert cni.pod_of_alias("") is cni.pod_of_alias("somebody's") is None


def test_names_are_recorded_with_addresses(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        addresses = Addresses(store)
        addresses.set_subnet(IPv4Network("10.42.1.0/24"))
        addresses.allocate(Owner("c1", "eth0"), "quilt", pod=WEB)
        addresses.allocate(Owner("c2", "eth0"), "quilt")
    with closing(Store(tmp_path)) as store:
        assert [held.pod for held in Addresses(store).held()] == [WEB, None]


# By name, as of late, and by position, as at first.
@pytest.mark.parametrize("insert", [OLDER_INSERT, "INSERT INTO allocations VALUES (?, ?, ?, ?)"])
def test_a_state_serves_an_older_release_this_one_and_the_older_again(tmp_path: Path, insert: str) -> None:
    first, second, third = (Owner(f"c{number}", "eth0") for number in range(3))
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.executescript(OLDER)
        database.execute(insert, ("c0", "eth0", int(IPv4Address("10.42.1.5")), "quilt"))
    with closing(Store(tmp_path)) as store:
        store.put_meta(subnet="10.42.1.0/24")
        addresses = Addresses(store)
        assert [(held.owner, held.pod) for held in addresses.held()] == [(first, None)]
        addresses.name(first, PodName("default", "old", ""))
        addresses.name(second, WEB)
        assert [held.pod for held in addresses.held()] == [PodName("default", "old", "")]
        addresses.allocate(second, "quilt", pod=WEB)
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert len(database.execute(OLDER_SELECT).fetchall()) == 2
        database.execute(insert, ("c2", "eth0", int(IPv4Address("10.42.1.7")), "quilt"))
    with closing(Store(tmp_path)) as store:
        held = {held.owner: held.pod for held in Addresses(store).held()}
    assert held == {first: None, second: WEB, third: None}

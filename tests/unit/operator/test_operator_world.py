"""The view of the cluster and the queue: late, doubled and lost news do no harm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET, claim_name
from quilt_kube.request import UnreachableError
from quilt_operator.workqueue import Request, WorkQueue
from quilt_operator.world import World

NETWORK = {
    "metadata": {"name": "default", "resourceVersion": "1"},
    "spec": {"clusterCIDRs": ["10.42.0.0/16"], "heartbeat": {"interval": "1s", "timeout": "4s"}},
}


def node(name: str, version: int, host_ip: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "status": {"hostIP": host_ip}}


def subnet(cidr: str, owner: str, version: int) -> dict[str, Any]:
    meta = {"name": claim_name(cidr), "resourceVersion": str(version)}
    return {
        "metadata": meta,
        "spec": {"cidr": cidr, "network": "default", "node": owner},
        "mesh": {"phase": "Up"},
    }


class Watcher:
    def __init__(self) -> None:
        self.notified: list[str] = []
        self.replanned = 0
        self.world = World("default", self.notified.append, self._replan)

    def _replan(self) -> None:
        self.replanned += 1


def test_old_news_changes_nothing() -> None:
    watcher = Watcher()
    world = watcher.world
    world.observe(QUILTNODE.plural, node("a", 5, "192.0.2.5"))
    world.observe(QUILTNODE.plural, node("a", 4, "192.0.2.4"))
    world.observe(QUILTNODE.plural, node("a", 5, "192.0.2.5"))
    assert world.nodes.items["a"].status.host_ip == "192.0.2.5"
    assert watcher.notified == ["a"]


def test_row_20_a_late_end_of_the_former_does_not_end_the_successor() -> None:
    world = Watcher().world
    world.observe(QUILTNODE.plural, node("a", 9))
    world.forget(QUILTNODE.plural, "a", 7)
    assert "a" in world.nodes.items
    world.forget(QUILTNODE.plural, "a", 10)
    world.observe(QUILTNODE.plural, node("a", 8))
    assert "a" not in world.nodes.items, "what was deleted does not come back by old news"
    world.observe(QUILTNODE.plural, node("a", 11))
    assert "a" in world.nodes.items


def test_a_complete_list_shows_what_went_away_unseen() -> None:
    watcher = Watcher()
    for name, version in (("a", 1), ("b", 2), ("c", 9)):
        watcher.world.observe(QUILTNODE.plural, node(name, version))
    watcher.notified.clear()
    assert watcher.world.keep(QUILTNODE.plural, {"a"}, 5) == 1
    assert set(watcher.world.nodes.items) == {"a", "c"}, "c is newer than the list"
    assert watcher.notified == ["b"]


def test_what_no_event_has_shown_yet_is_counted() -> None:
    world = Watcher().world
    world.observe(QUILTNODE.plural, node("a", 5))
    world.observe(QUILTNODE.plural, node("b", 5))
    world.forget(QUILTNODE.plural, "b", 7)
    assert world.lacks(QUILTNODE.plural, {"a": 5, "b": 6}) == 0, "b is known to be gone"
    assert world.lacks(QUILTNODE.plural, {"a": 6, "b": 8, "c": 1}) == 3
    world.observe(QUILTNETWORK.plural, {**NETWORK, "metadata": {"name": "other", "resourceVersion": "3"}})
    assert world.lacks(QUILTNETWORK.plural, {"other": 3, "default": 1}) == 1
    assert world.book is None, "another network is not the one to serve"


def test_claims_before_the_network_are_in_the_book_once_it_is_known() -> None:
    watcher = Watcher()
    watcher.world.observe(QUILTSUBNET.plural, subnet("10.42.1.0/24", "a", 3))
    watcher.world.observe(QUILTNETWORK.plural, NETWORK)
    book = watcher.world.book
    assert book is not None
    assert str(book.lowest_free(4)) == "10.42.2.0/24"
    watcher.world.forget(QUILTSUBNET.plural, "10.42.1.0-24", 4)
    assert str(book.lowest_free(4)) == "10.42.1.0/24"


def test_the_networks_own_status_does_not_plan_again_and_its_deletion_keeps_the_plan() -> None:
    watcher = Watcher()
    watcher.world.observe(QUILTNETWORK.plural, NETWORK)
    meta = {"name": "default", "resourceVersion": "2"}
    watcher.world.observe(QUILTNETWORK.plural, {**NETWORK, "metadata": meta, "status": {"x": 1}})
    assert watcher.replanned == 1
    watcher.world.forget(QUILTNETWORK.plural, "default", 3)
    assert watcher.world.book is not None


def test_a_network_that_is_not_understood_leaves_the_old_plan() -> None:
    watcher = Watcher()
    watcher.world.observe(QUILTNETWORK.plural, NETWORK)
    bad = {"metadata": {"name": "default", "resourceVersion": "2"}, "spec": {"clusterCIDRs": ["x"]}}
    watcher.world.observe(QUILTNETWORK.plural, bad)
    assert watcher.world.book is not None
    assert str(watcher.world.book.lowest_free(4)) == "10.42.1.0/24"


histories = st.lists(
    st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=12, unique_by=lambda e: e[1]
)


@given(histories, st.randoms(use_true_random=False))
def test_in_whatever_order_news_arrives_the_last_word_counts(
    history: list[tuple[bool, int]], random: Any
) -> None:
    """Per object an API server's versions only grow; the view ends where the history ended."""
    shuffled = history * 2
    random.shuffle(shuffled)
    world = Watcher().world
    for exists, version in shuffled:
        if exists:
            world.observe(QUILTNODE.plural, node("a", version, f"192.0.2.{version}"))
        else:
            world.forget(QUILTNODE.plural, "a", version)
    exists, version = max(history, key=lambda item: item[1])
    if exists:
        assert world.nodes.items["a"].status.host_ip == f"192.0.2.{version}"


# The queue


async def run(queue: WorkQueue, handler: Any, workers: int = 2) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(queue.work({"node": handler})) for _ in range(workers)]


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue()


async def test_an_object_waits_once_and_is_never_handled_twice_at_a_time(queue: WorkQueue) -> None:
    seen: list[int] = []
    active = 0
    begun = asyncio.Event()
    release = asyncio.Event()
    second = asyncio.Event()

    async def handle(_: Request) -> None:
        nonlocal active
        active += 1
        seen.append(active)
        begun.set()
        await release.wait()
        active -= 1
        if len(seen) == 2:
            second.set()

    workers = await run(queue, handle)
    request = Request("node", "a")
    for _ in range(3):
        queue.add(request)
    await asyncio.wait_for(begun.wait(), 5)
    for _ in range(3):
        queue.add(request)
    release.set()
    await asyncio.wait_for(second.wait(), 5)
    await queue.drain()
    assert seen == [1, 1]
    for worker in workers:
        worker.cancel()


async def test_withdrawals_overtake_and_failures_come_back(queue: WorkQueue) -> None:
    order: list[str] = []
    done = asyncio.Event()

    async def handle(request: Request) -> None:
        order.append(request.name)
        if order.count("b") == 1 and request.name == "b":
            raise UnreachableError("away")
        if order.count("b") == 2:
            done.set()

    for name in ("a", "b", "c"):
        queue.add(Request("node", name))
    queue.add(Request("node", "c"), urgent=True)
    workers = await run(queue, handle, workers=1)
    await asyncio.wait_for(done.wait(), 5)
    assert order == ["c", "a", "b", "b"]
    for worker in workers:
        worker.cancel()


async def test_what_is_looked_at_to_be_sure_comes_last_and_once(queue: WorkQueue) -> None:
    order: list[str] = []
    done = asyncio.Event()

    async def handle(request: Request) -> None:
        order.append(request.name)
        if not len(queue):
            done.set()

    for name in ("a", "b", "c", "c"):
        queue.add_spare(Request("node", name))
    queue.add(Request("node", "new"))
    queue.add(Request("node", "b"))
    queue.add_spare(Request("node", "new"))
    assert len(queue) == 4
    workers = await run(queue, handle, workers=1)
    await asyncio.wait_for(done.wait(), 5)
    assert order == ["new", "b", "a", "c"]
    for worker in workers:
        worker.cancel()


async def test_a_drained_queue_begins_nothing(queue: WorkQueue) -> None:
    seen: list[str] = []

    async def handle(request: Request) -> None:
        seen.append(request.name)

    workers = await run(queue, handle)
    await asyncio.wait_for(queue.drain(), 5)
    queue.add(Request("node", "a"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not seen
    for worker in workers:
        worker.cancel()

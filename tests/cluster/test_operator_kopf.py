"""The real kopf on a real API server whose watches break in every way: no event and no deletion is lost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.control_plane.plane import Plane
from bench.control_plane.proxy import Faults, Proxy
from bench.control_plane.wire import MERGE, Wire
from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_operator.api.client import Client, find_access
from quilt_operator.audit import PATHS, Audit
from quilt_operator.watching import Memo, Watches
from quilt_operator.world import World
from tests.support.controlplane import ControlPlane, thing
from tests.support.faultyway import operator_on_its_way
from tests.support.operators import Fleet, Operator, eventually, names

NODES = QUILTNODE.plural
# Changes while the faults are drawn: this many, and as many more as needed until each of these has struck.
TURNS = 400
NEEDED = ("late", "again", "cut", "gone", "failed")


class View:
    """What the operator knows, by a kopf that asks through a proxy."""

    def __init__(self, world: World, audit: Audit, wire: Wire, proxy: Proxy) -> None:
        self.world, self.audit, self.wire, self.proxy = world, audit, wire, proxy
        self.notified: list[str] = []

    def versions(self) -> dict[str, int]:
        return {name: item.version for name, item in self.world.nodes.items.items()}

    async def listed(self) -> dict[str, int]:
        """What the API server has, asked past the proxy."""
        items = json.loads(await self.wire.ok("GET", QUILTNODE.path()))["items"]
        return {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in items}

    async def watches(self) -> None:
        """Wait until each of kopf's kinds is watched: a list may have shown all before."""
        async with asyncio.timeout(60):
            while self.proxy.begun < len(PATHS):  # noqa: ASYNC110 - the proxy has no event for it
                await asyncio.sleep(0.05)

    async def agrees(self) -> None:
        """Wait until the view is what the API server has; fail with both."""
        found = seen = {}
        for _ in range(300):
            found, seen = await self.listed(), self.versions()
            if found == seen:
                return
            await asyncio.sleep(0.1)
        assert seen == found


@asynccontextmanager
async def view(
    plane: ControlPlane, folder: Path, faults: Faults, *, interval: float = 1.0, silence: float = 70.0
) -> AsyncIterator[View]:
    made = Plane(plane.cluster, folder)
    wire = made.wire(32)
    proxy = Proxy(wire, faults, 1, lambda: None)
    client = Client(find_access(str(made.through("kopf", await proxy.start()))))
    notified: list[str] = []
    world = World("default", notified.append, lambda: None)
    audit = Audit(client, world, interval)
    watches = Watches(Memo(asyncio.get_running_loop(), world, audit, client, silence), "test")
    running = asyncio.create_task(watches.run())
    try:
        async with asyncio.timeout(60):
            await audit.complete.wait()
        found = View(world, audit, wire, proxy)
        found.notified = notified
        yield found
    finally:
        watches.end()
        await asyncio.wait([running], timeout=20)
        assert running.done(), "kopf ends on request"
        await client.close()
        await proxy.stop()


async def make(wire: Wire, name: str) -> None:
    await wire.ok("POST", QUILTNODE.path(), thing(QUILTNODE, name, spec={}))


async def change(wire: Wire, name: str, text: str) -> None:
    await wire.ok("PATCH", QUILTNODE.path(name), {"metadata": {"labels": {"turn": text}}}, MERGE)


@pytest.fixture
async def bare(plane: ControlPlane) -> AsyncIterator[None]:
    """No QuiltNode, before and after."""
    await asyncio.to_thread(plane.admin.request, "DELETE", QUILTNODE.path())
    yield
    await asyncio.to_thread(plane.admin.request, "DELETE", QUILTNODE.path())


@pytest.mark.usefixtures("bare")
async def test_row_19_whatever_happens_to_kopfs_watches_the_view_ends_as_the_api_server_has_it(
    plane: ControlPlane, tmp_path: Path
) -> None:
    faults = Faults(late=0.1, again=0.2, conflict=0, lost=0.05, killed=0, cut=0.1, gone=0.3, failed=0.1)
    drawn = random.Random(7)
    async with view(plane, tmp_path, faults) as seen:
        there: set[str] = set()
        for turn in count():
            if turn >= TURNS and all(faults.drawn[fault] for fault in NEEDED):
                break
            name = f"node-{drawn.randrange(20)}"
            if name not in there:
                await make(seen.wire, name)
                there.add(name)
            elif drawn.random() < 0.4:
                await seen.wire.ok("DELETE", QUILTNODE.path(name))
                there.discard(name)
            else:
                await change(seen.wire, name, str(turn))
        seen.proxy.calm = True
        await seen.agrees()
        assert set(seen.versions()) == there


@pytest.mark.usefixtures("bare")
async def test_row_19_an_object_deleted_while_the_watch_was_away_is_gone_after_an_audit(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with view(plane, tmp_path, Faults()) as seen:
        seen.proxy.calm = True
        for name in ("node-1", "node-2"):
            await make(seen.wire, name)
        await seen.agrees()
        await seen.watches()
        seen.proxy.away = True
        assert seen.proxy.cut(), "and no watch can be resumed"
        await seen.wire.ok("DELETE", QUILTNODE.path("node-1"))
        await change(seen.wire, "node-2", "changed")
        seen.notified.clear()
        seen.proxy.away = False
        await seen.agrees()
        assert set(seen.versions()) == {"node-2"}
        assert "node-1" in seen.notified


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("code", [429, 500, 504])
async def test_after_an_error_in_a_watch_kopf_continues(
    plane: ControlPlane, tmp_path: Path, code: int
) -> None:
    """t7: After an ERROR in a watch kopf lists all again and continues; what came before it counts."""
    async with view(plane, tmp_path, Faults()) as seen:
        seen.proxy.calm = True
        await make(seen.wire, "node-1")
        await seen.agrees()
        await seen.watches()
        assert seen.proxy.fail(code), "watches"
        await make(seen.wire, "node-2")
        await change(seen.wire, "node-1", "changed")
        await seen.agrees()


@pytest.mark.usefixtures("bare")
async def test_row_19_a_watch_that_says_nothing_any_more_is_opened_again(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with view(plane, tmp_path, Faults(), interval=600, silence=2) as seen:
        seen.proxy.calm = True
        await make(seen.wire, "node-1")
        await seen.agrees()
        await seen.watches()
        assert seen.proxy.mute() >= 3
        await make(seen.wire, "node-2")
        await seen.wire.ok("DELETE", QUILTNODE.path("node-1"))
        await seen.agrees()


@pytest.mark.usefixtures("bare")
async def test_row_20_the_end_of_the_former_does_not_end_its_successor(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with view(plane, tmp_path, Faults(late=0.5, again=1, cut=0, gone=0, lost=0, killed=0)) as seen:
        for _ in range(10):
            await make(seen.wire, "node-1")
            await seen.wire.ok("DELETE", QUILTNODE.path("node-1"))
        await make(seen.wire, "node-1")
        seen.proxy.calm = True
        await seen.agrees()


def test_a_node_that_left_unseen_gives_its_subnet_back_and_nobody_has_a_finalizer(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.join(*names(3))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(3)), "Up")
    operator.kill()
    with operator_on_its_way(plane, tmp_path, "--audit-interval=2") as (other, way):
        way.away()
        fleet.leave("node-1")
        way.back()
        eventually(lambda: not fleet.claim_of("node-1"), "given back after the grace period", 60)
        assert other.logged("audit_found_deleted")
        fleet.join("node-4")
        eventually(lambda: fleet.claim_of("node-4").get("cidr") == "10.42.1.0/24", "and handed out again")
        everything: list[dict[str, Any]] = []
        for path in (QUILTNODE.path(), QUILTNETWORK.path(), QUILTSUBNET.path(), "/api/v1/nodes"):
            everything += fleet.api.get(path).ok()["items"]
        assert len(everything) >= 10
        assert not [item for item in everything if item["metadata"].get("finalizers")]
        notes = [key for item in everything for key in item["metadata"].get("annotations") or {}]
        assert not [key for key in notes if "kopf" in key]
    operator.restart()
    eventually(operator.leads, "leads again", 60)

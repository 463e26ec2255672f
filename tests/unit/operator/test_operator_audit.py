"""The audit finds what was deleted unseen; the view counts as complete once it has all that was listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from quilt_crds.names import QUILTNETWORK, QUILTNODE
from quilt_crds.wire import Meta, WireObject
from quilt_kube.request import METADATA_LIST, UnreachableError
from quilt_operator import audit
from quilt_operator.api.client import Client
from quilt_operator.audit import Audit
from quilt_operator.world import World
from tests.support.logs import capture_logs

NODES = QUILTNODE.plural


def node(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


class Lists:
    """Lists of metadata, by collection; those that a test does not fill are empty."""

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.version = 10
        self.failures = 0
        self.asked = 0

    async def list(self, path: str, kind: type[WireObject], accept: str) -> tuple[list[WireObject], int]:
        assert accept == METADATA_LIST
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise UnreachableError("gone for lunch")
        found = self.nodes.items() if path == QUILTNODE.path() else ()
        metas = [Meta(name, resource_version=str(version)) for name, version in found]
        return [kind(meta) for meta in metas], self.version


class Scene:
    """A view, and the audit of it."""

    def __init__(self) -> None:
        self.lists = Lists()
        self.notified: list[str] = []
        self.world = World("default", self.notified.append, lambda: None)
        self.audit = Audit(cast(Client, self.lists), self.world, 0.01)

    async def behind(self) -> None:
        """Wait until an audit has found the view incomplete."""
        while not self.audit.lacking:  # noqa: ASYNC110 - there is an event only for the opposite
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def audited(self) -> AsyncIterator[None]:
        self.audit.begin()
        try:
            async with asyncio.timeout(10):
                yield
        finally:
            self.audit.end()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(audit, "_SOON", 0.05)
    monkeypatch.setattr(audit, "_AGAIN", 0.01)
    monkeypatch.setattr(audit, "_POLL", 0.001)
    return Scene()


async def test_an_object_deleted_while_its_watch_was_away_is_found(scene: Scene) -> None:
    scene.world.observe(NODES, node("a", 5))
    scene.world.observe(NODES, node("b", 6))
    scene.lists.nodes = {"a": 5}
    with capture_logs() as logs:
        assert await scene.audit.look()
    assert set(scene.world.nodes.items) == {"a"}
    assert scene.notified[-1] == "b"
    assert [entry["count"] for entry in logs if entry["event"] == "audit_found_deleted"] == [1]


async def test_an_object_newer_than_the_list_stays(scene: Scene) -> None:
    scene.world.observe(NODES, node("a", 11))
    assert await scene.audit.look()
    assert set(scene.world.nodes.items) == {"a"}


async def test_the_view_is_complete_when_its_events_have_shown_all_that_was_listed(scene: Scene) -> None:
    scene.lists.nodes = {"a": 5, "b": 6}
    async with scene.audited():
        scene.world.observe(NODES, node("a", 5))
        scene.world.observe(NODES, node("b", 4))
        await scene.behind()
        assert not scene.audit.complete.is_set()
        assert scene.audit.lacking == {NODES: 1}
        scene.world.observe(NODES, node("b", 6))
        await scene.audit.complete.wait()


async def test_what_was_deleted_before_any_watch_showed_it_does_not_hold_up_the_start(scene: Scene) -> None:
    scene.lists.nodes = {"a": 5}
    async with scene.audited():
        await scene.behind()
        scene.lists.nodes = {}
        await scene.audit.complete.wait()


async def test_an_api_server_that_does_not_answer_is_asked_again(scene: Scene) -> None:
    scene.lists.failures = 3
    async with scene.audited():
        await scene.audit.complete.wait()
    assert scene.lists.asked > 3


async def test_a_watch_that_shows_nothing_is_reported_until_it_does(scene: Scene) -> None:
    assert await scene.audit.look()
    assert scene.audit.age(NODES) < 60
    scene.lists.nodes = {"a": 5}
    with capture_logs() as logs:
        assert not await scene.audit.look()
        assert not await scene.audit.look()
    missing = [entry for entry in logs if entry["event"] == "audit_found_missing"]
    assert [entry[NODES] for entry in missing] == [1], "once"
    assert scene.audit.lacking == {NODES: 1}
    assert QUILTNETWORK.plural not in scene.audit.lacking
    scene.world.observe(NODES, node("a", 5))
    assert await scene.audit.look()
    assert not scene.audit.lacking

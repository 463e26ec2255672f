"""What a node's Events look like to the API server, and what becomes of those that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from quilt_events.news import News, Topic
from quilt_events.writer import Events
from quilt_kube.request import ApiError, UnreachableError
from tests.support.agent_doubles import eventually
from tests.support.probe_api import FakeApi

LOST = News(Topic("PathFailing", "Probes are lost", about="n2"), "n1 → n2")
DRIFT = News(Topic("DriftRepaired", "Repaired"), "route")


@asynccontextmanager
async def events(api: FakeApi, node: str = "n1") -> AsyncIterator[Events]:
    api.node(node, "ProbesLost", "False")
    made = Events(api.client, node, lambda: 3)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_is_about_the_own_node_and_named_by_the_outage() -> None:
    api = FakeApi()
    async with events(api) as writing:
        writing.tell(LOST)
        await eventually(lambda: api.sent)
    event = api.sent[0].document
    assert event["metadata"]["name"].startswith("n2.pathfailing.")
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"]["name"] == event["reportingInstance"] == "n1"
    assert event["regarding"]["uid"] == "uid-n1"
    assert event["reportingController"] == "quilt.io/agent"
    assert (event["type"], event["reason"]) == ("Warning", "PathFailing")
    assert event["note"] == "Probes are lost: n1 → n2."


async def test_a_storm_is_one_event_with_its_count() -> None:
    api = FakeApi()
    async with events(api) as writing:
        for _ in range(1_000):
            writing.tell(DRIFT, 2)
        writing.tell(LOST)
        await eventually(lambda: len(api.sent) == 2)
    assert api.sent[0].document["note"] == "Repaired: route (x2000)."


@pytest.mark.parametrize(
    "refusal", [ApiError(409, "exists", "AlreadyExists"), ApiError(403, "no"), UnreachableError("gone")]
)
async def test_an_event_that_cannot_be_written_is_dropped_and_the_next_one_is_written(
    refusal: Exception,
) -> None:
    api = FakeApi()
    api.refusal = refusal
    async with events(api) as writing:
        writing.tell(LOST)
        await eventually(lambda: api.reads)
        api.refusal = None
        writing.tell(DRIFT)
        await eventually(lambda: api.sent)
    assert [request.document["reason"] for request in api.sent] == ["DriftRepaired"]

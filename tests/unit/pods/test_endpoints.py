"""Which pod has which address is published: at once, not too often, and never lost."""

from __future__ import annotations

import asyncio
import time

from tests.support.agent_api import eventually
from tests.support.pods_scene import ENDPOINTS, Scene, name


async def test_what_the_runtime_reports_is_published_with_its_owner(scene: Scene) -> None:
    scene.runtime.connect(name("web"), "10.42.1.9")
    scene.runtime.connect(name("db"), "10.42.1.5")
    scene.start()
    await eventually(lambda: scene.published() == {"db": "10.42.1.5", "web": "10.42.1.9"})
    held = scene.api.objects[ENDPOINTS]["self"]
    assert held["metadata"]["ownerReferences"] == [scene.owner]
    assert held["spec"]["node"] == "self"
    assert held["spec"]["endpoints"][0] == {
        "uid": "uid-db",
        "namespace": "shop",
        "name": "db",
        "address": "10.42.1.5",
    }


async def test_a_pod_that_starts_or_ends_is_published_at_once_kube_router_1309_1652(scene: Scene) -> None:
    scene.start()
    await eventually(lambda: scene.published() == {})
    await asyncio.sleep(0.25)
    began = time.monotonic()
    scene.runtime.connect(name("web"), "10.42.1.9")
    await eventually(lambda: scene.published() == {"web": "10.42.1.9"})
    assert time.monotonic() - began < 0.2
    scene.runtime.disconnect(name("web"))
    await eventually(lambda: scene.published() == {})


async def test_many_changes_are_few_writes_and_the_last_one_counts(scene: Scene) -> None:
    scene.start()
    await eventually(lambda: scene.published() == {})
    before, began = scene.api.count("PATCH", "quiltendpoints"), time.monotonic()
    for number in range(100):
        scene.runtime.connect(name(f"pod-{number}"), f"10.42.1.{number + 2}")
        await asyncio.sleep(0.005)
    await eventually(lambda: len(scene.published() or ()) == 100)
    writes = scene.api.count("PATCH", "quiltendpoints") - before
    assert writes <= 2 + (time.monotonic() - began) * 5


async def test_nothing_is_written_when_nothing_changed(scene: Scene) -> None:
    scene.start()
    await eventually(lambda: scene.published() == {})
    writes = scene.api.count("PATCH", "quiltendpoints")
    for _ in range(5):
        scene.pods.changed()
        await asyncio.sleep(0.02)
    assert scene.api.count("PATCH", "quiltendpoints") == writes


async def test_a_runtime_that_restarts_reports_all_and_what_went_meanwhile_is_gone(scene: Scene) -> None:
    scene.runtime.connect(name("old"), "10.42.1.2")
    scene.runtime.connect(name("stays"), "10.42.1.3")
    scene.start()
    await eventually(lambda: len(scene.published() or ()) == 2)
    await scene.runtime.stop()
    await asyncio.sleep(0.1)
    assert scene.published() == {"old": "10.42.1.2", "stays": "10.42.1.3"}, "what was known stays"
    del scene.runtime.connected[name("old")]
    scene.runtime.connected[name("new")] = "10.42.1.4"
    await scene.runtime.start()
    await eventually(lambda: scene.published() == {"stays": "10.42.1.3", "new": "10.42.1.4"})


async def test_nothing_is_published_before_the_runtime_reported_all(scene: Scene) -> None:
    await scene.runtime.stop()
    scene.start()
    await asyncio.sleep(0.2)
    assert scene.published() is None


async def test_an_api_server_that_refuses_is_asked_again_and_gets_the_newest_state(scene: Scene) -> None:
    scene.start()
    await eventually(lambda: scene.published() == {})
    scene.api.refuse = 503
    scene.runtime.connect(name("first"), "10.42.1.2")
    await eventually(lambda: scene.api.count("PATCH", "quiltendpoints") >= 3)
    scene.runtime.connect(name("second"), "10.42.1.3")
    scene.runtime.disconnect(name("first"))
    scene.api.refuse = 0
    await eventually(lambda: scene.published() == {"second": "10.42.1.3"})


async def test_where_it_is_not_wanted_nothing_is_written_until_it_is(scene: Scene) -> None:
    """The operator deletes what there is."""
    scene.runtime.connect(name("web"), "10.42.1.9")
    scene.start()
    await eventually(lambda: scene.published() == {"web": "10.42.1.9"})
    scene.want(endpoints=False)
    await asyncio.sleep(0.05)
    scene.api.delete(ENDPOINTS, "self")
    scene.runtime.connect(name("db"), "10.42.1.5")
    await asyncio.sleep(0.3)
    assert scene.published() is None
    scene.want(endpoints=True)
    await eventually(lambda: scene.published() == {"db": "10.42.1.5", "web": "10.42.1.9"})


async def test_without_a_known_network_nothing_is_done(scene: Scene) -> None:
    scene.start()
    scene.network = None
    scene.pods.changed()
    await asyncio.sleep(0.2)
    assert not scene.api.requests


async def test_the_owner_is_waited_for(scene: Scene) -> None:
    owner, scene.owner = scene.owner, None
    scene.start()
    await asyncio.sleep(0.2)
    assert scene.published() is None
    scene.owner = owner
    scene.pods.changed()
    await eventually(lambda: scene.published() == {})

"""The life of a single route: discovery by typed reads, retries as the contract counts them, typed errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quilt_crds.wire import NodeRoute
from quilt_netlink import Link, Put
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.executor.client import BridgeNotReady, RouteFailed, RuntimeClient, RuntimeUnavailable
from quilt_nodeagent.executor.routes import Routes
from tests.support.runtime_double import FakeRuntime

GUEST = "02:00:00:00:00:22"
BY_NAME = NodeRoute("10.42.2.0/24", interface="vxlan100")
BY_MEMBER = NodeRoute("10.42.2.0/24", bridge_member=GUEST)


class Bench:
    """Routes over a fake kernel with a vxlan device and an empty bridge, and a clock that counts sleeps."""

    def __init__(self, kernel: FakeKernel, runtime: FakeRuntime, client: RuntimeClient) -> None:
        self.kernel = kernel
        self.runtime = runtime
        self.slept: list[float] = []
        self.on_sleep = lambda: None
        self.routes = Routes(kernel, client, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()

    def learn(self) -> None:
        """Let the bridge learn the guest's MAC, as with its first frame."""
        bridge = self.kernel.link("br0")
        assert bridge is not None
        self.kernel.run(Put(Link("port0", kind="veth", mac=GUEST, up=True, master=bridge.index)))

    def prefixes(self) -> set[str]:
        return {route.prefix for route in self.kernel.routes(protocol=82)}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    links = [Link("vxlan100", kind="veth", up=True), Link("br0", kind="bridge", up=True)]
    kernel = FakeKernel(links)
    runtime = FakeRuntime(kernel, tmp_path)
    await runtime.start()
    client = RuntimeClient(runtime.address, timeout=60.0)
    yield Bench(kernel, runtime, client)
    await client.close()
    await runtime.stop()


async def test_a_known_interface_needs_no_discovery(bench: Bench) -> None:
    assert await bench.routes.ensure_route(BY_NAME) == "vxlan100"
    assert bench.prefixes() == {"10.42.2.0/24"}


async def test_a_bridge_is_found_by_a_members_mac(bench: Bench) -> None:
    bench.learn()
    assert bench.routes.resolve(NodeRoute(bridge_member=GUEST.upper())) == "br0"


async def test_a_bridge_that_learns_late_is_waited_for(bench: Bench) -> None:
    bench.on_sleep = lambda: bench.learn() if len(bench.slept) == 3 else None
    assert await bench.routes.ensure_route_with_retry(BY_MEMBER) == "br0"
    assert bench.slept == [2.0, 2.0, 2.0]


async def test_discovery_is_tried_five_times_two_seconds_apart(bench: Bench) -> None:
    with pytest.raises(BridgeNotReady, match=GUEST):
        await bench.routes.ensure_route_with_retry(BY_MEMBER)
    assert bench.slept == [2.0] * 4


async def test_a_known_interface_is_tried_twice(bench: Bench) -> None:
    await bench.runtime.stop()
    with pytest.raises(RuntimeUnavailable) as unavailable:
        await bench.routes.ensure_route_with_retry(BY_NAME)
    assert unavailable.value.retryable
    assert bench.slept == [2.0]


async def test_a_refusal_carries_the_runtimes_words_and_is_not_repeated(bench: Bench) -> None:
    bench.runtime.refuse.add("10.42.2.0/24")
    with pytest.raises(RouteFailed, match=r"10.42.2.0/24 via vxlan100: refused on demand") as refused:
        await bench.routes.ensure_route_with_retry(BY_NAME)
    assert not refused.value.retryable
    assert bench.slept == []
    with pytest.raises(RouteFailed):
        await bench.routes.remove_route("10.42.2.0/24")


async def test_removal_tolerates_an_absent_route_and_an_absent_runtime(bench: Bench) -> None:
    assert await bench.routes.remove_route("10.42.2.0/24")
    await bench.runtime.stop()
    assert not await bench.routes.remove_route("10.42.2.0/24")


async def test_routes_beyond_one_call_are_split(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from quilt_nodeagent.core.overlay import Hop
    from quilt_nodeagent.executor import client

    monkeypatch.setattr(client, "CHUNK", 3)
    runtime = RuntimeClient(bench.runtime.address, timeout=60.0)
    add = [(f"10.42.{n}.0/24", Hop(f"10.42.{n}.0", "vxlan100")) for n in range(5)]
    assert await runtime.apply_routes(add, []) == []
    assert len(bench.kernel.routes(protocol=81)) == 5
    assert await runtime.apply_routes(add[:2], [prefix for prefix, _ in add[2:]]) == []
    left = {route.prefix for route in bench.kernel.routes(protocol=81)}
    assert left == {"10.42.0.0/24", "10.42.1.0/24"}
    assert bench.runtime.calls == 4
    await runtime.close()

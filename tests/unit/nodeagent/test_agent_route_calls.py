"""Routes by calls of the runtime: each request gets its own answer, however many are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.executor.client import CHUNK, RuntimeClient, RuntimeUnavailable
from tests.support.runtime_double import FakeRuntime, connected, serving


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[FakeRuntime]:
    async with serving(tmp_path) as double:
        yield double


@pytest.fixture
async def client(runtime: FakeRuntime) -> AsyncIterator[RuntimeClient]:
    async with connected(runtime) as made:
        yield made


def routes(*numbers: int) -> list[tuple[str, Hop]]:
    return [(f"10.{n // 250}.{n % 250}.0/24", Hop(f"10.{n // 250}.{n % 250}.0", "vxlan100")) for n in numbers]


async def test_requests_under_way_together_get_their_own_answers(
    runtime: FakeRuntime, client: RuntimeClient
) -> None:
    runtime.refuse = {f"10.0.{n}.0/24" for n in range(0, 40, 2)}
    answers = await asyncio.gather(*(client.apply_routes(routes(n), ()) for n in range(40)))
    refused = [[refusal.destination for refusal in answer] for answer in answers]
    assert refused == [[f"10.0.{n}.0/24"] if n % 2 == 0 else [] for n in range(40)]
    assert runtime.calls == 40


async def test_many_routes_go_in_few_calls(runtime: FakeRuntime, client: RuntimeClient) -> None:
    assert await client.apply_routes(routes(*range(9)), ()) == []
    assert runtime.calls == 1
    prefixes = [prefix for prefix, _ in routes(*range(CHUNK + 1))]
    assert await client.apply_routes((), prefixes) == []
    assert runtime.calls == 3


async def test_a_runtime_that_ends_fails_all_under_way_and_is_found_again(
    runtime: FakeRuntime, client: RuntimeClient
) -> None:
    async def go() -> None:
        runtime.before_answer = (
            go  # for each call: none shall be answered while the first one ends the runtime
        )
        await runtime.stop()

    runtime.before_answer = go
    results = await asyncio.gather(
        *(client.apply_routes(routes(n), ()) for n in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [RuntimeUnavailable] * 3
    with pytest.raises(RuntimeUnavailable):
        await client.apply_routes(routes(4), ())
    runtime.before_answer = None
    await runtime.start()
    await asyncio.wait_for(client.channel.channel_ready(), 10)
    assert await client.apply_routes(routes(5), ()) == []


async def test_a_runtime_that_hangs_is_given_up_and_its_late_answer_is_nobodys(runtime: FakeRuntime) -> None:
    hangs = asyncio.Event()

    async def hang() -> None:
        await hangs.wait()

    runtime.before_answer, runtime.refuse = hang, {"10.0.1.0/24"}
    hasty = RuntimeClient(runtime.address, timeout=0.2)
    with pytest.raises(RuntimeUnavailable, match="does not answer"):
        await hasty.apply_routes(routes(1), ())
    hangs.set()
    hasty._timeout = 60.0
    assert await hasty.apply_routes(routes(2), ()) == []
    await hasty.close()


async def test_who_stops_waiting_leaves_no_answer_for_the_next(
    runtime: FakeRuntime, client: RuntimeClient
) -> None:
    reached, hangs = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await hangs.wait()

    runtime.before_answer, runtime.refuse = hold, {"10.0.1.0/24"}
    asking = asyncio.create_task(client.apply_routes(routes(1), ()))
    await reached.wait()
    asking.cancel()
    hangs.set()
    assert await client.apply_routes(routes(2), ()) == []

"""The heartbeat of the whole agent: it follows the network's interval at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.network import read_network
from tests.support.agent_doubles import GROUP, LEASES, Rig, eventually
from tests.support.agent_doubles import rig as make_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    kernel = FakeKernel()
    async with make_rig(kernel, tmp_path, kernel.monitor) as made:
        yield made


async def test_a_shortened_interval_wakes_the_heartbeat_that_sleeps(rig: Rig) -> None:
    """t6: An agent that waits for its next heartbeat wakes up when the interval is shortened."""
    slow = {"heartbeat": {"interval": "1h", "timeout": "3h"}}
    rig.network(**slow)
    agent = await rig.start()
    # Known before the first renewal is answered, so that the wait after it is the long one.
    agent.view.network = read_network(slow)
    await eventually(lambda: rig.api.count("POST", LEASES))
    fast = {"heartbeat": {"interval": "100ms", "timeout": "1s"}}
    rig.api.put(f"{GROUP}/quiltnetworks", {"metadata": {"name": "default"}, "spec": fast})
    with suppress(TimeoutError):
        await eventually(lambda: rig.api.count("PUT", LEASES) >= 3)
    assert rig.api.count("PUT", LEASES) >= 3

"""The whole agent on the fake kernel, and the kernel's faults that the real one does not have on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quilt_netlink import Delete, Put
from quilt_netlink.fake import FakeKernel, FakeMonitor, Fault
from quilt_nodeagent import agent
from tests.support.agent_behaviour import AgentBehaviour, sources
from tests.support.agent_doubles import Rig, eventually
from tests.support.agent_doubles import rig as make_rig
from tests.support.agent_scene import device, fake_host, fake_rig, mesh, programmed, publish


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with fake_rig(tmp_path) as made:
        yield made


class TestOnFakeKernel(AgentBehaviour):
    @pytest.mark.parametrize("fault", ["dump_interrupted", "enodev", "eperm", "partial_batch"])
    async def test_row_13_a_fault_at_the_start_only_delays(self, rig: Rig, fault: Fault) -> None:
        assert isinstance(rig.kernel, FakeKernel)
        rig.kernel.inject(fault)
        await mesh(rig, 2, 3)
        assert not rig.kernel.pending_faults

    @pytest.mark.parametrize("fault", ["enodev", "eperm", "partial_batch"])
    async def test_row_13_a_fault_while_a_peer_joins_only_delays(self, rig: Rig, fault: Fault) -> None:
        assert isinstance(rig.kernel, FakeKernel)
        await mesh(rig, 2)
        rig.kernel.inject(fault)
        publish(rig, 3, 4)
        await eventually(lambda: programmed(rig, 2, 3, 4))
        assert not rig.kernel.pending_faults

    async def test_lost_notifications_are_made_good(self, rig: Rig) -> None:
        assert isinstance(rig.kernel, FakeKernel)
        await mesh(rig, 2, 3)
        rig.kernel.inject("overrun")
        rig.kernel.run(Delete(rig.kernel.neighbours(rig.agent.dataplane.index)[0]))
        await eventually(lambda: programmed(rig, 2, 3))
        assert not rig.kernel.pending_faults
        assert rig.counter("resyncs_total", cause="overrun") == 1

    async def test_no_op_churn_writes_nothing(self, rig: Rig) -> None:
        """Objects that change in ways that do not matter to the kernel cost no write, nor does a resync."""
        assert isinstance(rig.kernel, FakeKernel)
        await mesh(rig, 2, 3)
        writes, calls = rig.kernel.writes, rig.runtime.calls
        publish(rig, 2, 3)
        rig.agent.reconciler.resync("test")
        await eventually(lambda: rig.counter("resyncs_total", cause="test") == 1)
        assert (rig.kernel.writes, rig.runtime.calls) == (writes, calls)

    @pytest.mark.parametrize(
        ("spec", "cidr"),
        [
            ({"nodePrefixLength": 25}, "10.42.1.128/25"),
            ({"nodePrefixLength": 22}, "10.42.4.0/22"),
            ({"nodePrefixLength": 28}, "10.42.1.16/28"),
            ({"ipam": {"mode": "kubernetes"}}, "10.42.1.0/25"),
            ({"ipam": {"mode": "kubernetes"}, "nodePrefixLength": 24}, "10.42.8.0/21"),
        ],
    )
    async def test_a_node_serves_a_subnet_of_any_length(
        self, rig: Rig, spec: dict[str, Any], cidr: str
    ) -> None:
        """t11: The agent tells the runtime which length node subnets have, from whatever source."""
        rig.network(**spec)
        rig.api.claim(cidr, "self", "198.18.0.1")
        await rig.start()
        await eventually(lambda: rig.runtime.subnet or rig.agent.runtime.refusal)
        assert (rig.runtime.subnet, rig.agent.runtime.refusal) == (cidr, "")

    async def test_a_pod_cidr_of_another_length_replaces_the_first(self, rig: Rig) -> None:
        """t11: A Node that is made again with a longer or shorter podCIDR is served again."""
        rig.network(ipam={"mode": "kubernetes"})
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        await rig.start()
        await rig.ready()
        rig.api.unclaim("10.42.1.0/24")
        rig.api.claim("10.42.2.0/26", "self", "198.18.0.1")
        await eventually(lambda: rig.runtime.subnet == "10.42.2.0/26" or rig.agent.runtime.refusal)
        assert rig.agent.runtime.refusal == ""


async def test_the_runtime_hears_of_joins_once_they_pause(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await mesh(rig, 2)
    await eventually(lambda: rig.agent._others_timer is None)
    monkeypatch.setattr(agent, "_OTHERS_DELAY", 3600.0)
    monkeypatch.setattr(agent, "_OTHERS_PAUSE", 7200.0)
    publish(rig, 3)
    await eventually(lambda: programmed(rig, 2, 3))
    assert (timer := rig.agent._others_timer)
    publish(rig, 4)
    await eventually(lambda: programmed(rig, 2, 3, 4))
    assert (put_off := rig.agent._others_timer)
    assert put_off.when() > timer.when()
    assert sources(rig) == {"198.18.0.2"}


async def test_the_runtime_hears_of_joins_that_never_pause(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await mesh(rig, 2)
    await eventually(lambda: rig.agent._others_timer is None)
    monkeypatch.setattr(agent, "_OTHERS_DELAY", 3600.0)
    publish(rig, 3)
    await eventually(lambda: sources(rig) == {"198.18.0.2", "198.18.0.3"})


async def test_what_happens_to_the_underlay_while_nobody_listens_is_followed(tmp_path: Path) -> None:
    """t25: A change of the host's interface while the agent's monitor was not open is followed, too."""
    opened: list[FakeMonitor] = []

    def open_monitor() -> FakeMonitor:
        opened.append(kernel.monitor())
        return opened[-1]

    kernel = fake_host()
    async with make_rig(kernel, tmp_path, open_monitor) as rig:
        await mesh(rig, 2)
        eth0 = kernel.link("eth0")
        assert eth0 is not None
        opened[0].close()
        kernel.run(Put(replace(eth0, mtu=1400)))
        await eventually(lambda: len(opened) == 2)
        with suppress(TimeoutError):
            await eventually(lambda: device(rig).mtu == 1350)
        assert device(rig).mtu == 1350

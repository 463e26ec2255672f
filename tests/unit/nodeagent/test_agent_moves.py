"""The node's own subnets: which one its pods have, which one it is to move to, what the operator hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.peer import make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.executor import link
from quilt_nodeagent.view import View
from tests.support.agent_doubles import GROUP, Rig, eventually
from tests.support.agent_scene import device, fake_rig, programmed, publish

# The one to move to is the lower: the order of numbers decides nothing.
OLD, NEW = "10.42.9.0/24", "10.42.1.0/24"
OLD6, NEW6 = "fd42:0:0:9::/64", "fd42:0:0:1::/64"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with fake_rig(tmp_path) as made:
        yield made


async def soon(condition: Callable[[], object]) -> None:
    """Wait for what an older agent never does: the assertion that follows tells."""
    with suppress(TimeoutError):
        async with asyncio.timeout(20.0):
            await eventually(condition)


def own(rig: Rig, *subnets: str) -> None:
    """What the operator grants and lists."""
    for subnet in subnets:
        rig.api.claim(subnet, "self", "198.18.0.1")
    nodes = f"{GROUP}/quiltnodes"
    held = rig.api.objects.get(nodes, {}).get("self", {"metadata": {"name": "self"}})
    rig.api.put(nodes, {**held, "status": {**held.get("status", {}), "subnets": list(subnets)}})


async def join(rig: Rig, *subnets: str, **spec: object) -> None:
    rig.network(**spec)
    own(rig, *subnets)
    publish(rig, 2)
    await rig.start()
    await rig.ready()


async def sent_again(rig: Rig, *numbers: int) -> None:
    """Wait until the runtime was sent peers that join one after the other, and all that came before."""
    for number in numbers:
        publish(rig, number)
        await eventually(lambda n=number: f"198.18.0.{n}" in rig.runtime.configured[-1].overlay_sources)
        await rig.ready()


async def test_the_operator_learns_which_subnets_the_runtime_serves(rig: Rig) -> None:
    """t1: The agent publishes which subnets its node's runtime serves."""
    await join(rig, OLD)
    await soon(lambda: rig.status().get("servedSubnets"))
    assert rig.status().get("servedSubnets") == [OLD]


async def test_pods_keep_their_subnet_until_the_runtime_accepts_the_new_one(rig: Rig) -> None:
    """t1: While pods have addresses the node serves its old subnet, and stays ready; then it moves."""
    await join(rig, OLD)
    rig.runtime.refuse.add(NEW)
    own(rig, OLD, NEW)
    await eventually(lambda: rig.runtime.refused)
    publish(rig, 3)
    # Sent after the refusal was received.
    await eventually(lambda: "198.18.0.3" in rig.runtime.configured[-1].overlay_sources)
    assert not rig.agent.report.unready()
    assert rig.runtime.subnet == OLD
    await eventually(lambda: programmed(rig, 2, 3))
    addresses = {address.address for address in rig.kernel.addresses(device(rig).index)}
    assert addresses == {"10.42.1.0/32", "10.42.9.0/32"}, "peers may send to either"
    await rig.stop()
    rig.runtime.refuse.clear()
    await rig.start()
    await soon(lambda: rig.status().get("servedSubnets") == [NEW])
    assert (rig.runtime.subnet, rig.status().get("servedSubnets")) == (NEW, [NEW])
    await rig.ready()


async def test_an_offer_is_made_again_until_the_pods_are_gone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """t1: A node moves by itself once its pods are gone, and the operator hears of it."""
    monkeypatch.setattr(link, "_POLL", 0.1)
    await join(rig, OLD)
    rig.runtime.refuse.add(NEW)
    own(rig, OLD, NEW)
    await eventually(lambda: len(rig.runtime.refused) > 2)
    rig.runtime.refuse.clear()
    await eventually(lambda: rig.runtime.subnet == NEW)
    await soon(lambda: rig.status().get("servedSubnets") == [NEW])
    assert rig.status().get("servedSubnets") == [NEW]


async def test_the_subnet_in_use_stays_where_a_former_one_is_published_again(rig: Rig) -> None:
    """t2: Of two own claims the one that the runtime serves stays in use, whatever their order."""
    await join(rig, OLD)
    rig.api.claim(NEW, "self", "198.18.0.1")
    await sent_again(rig, 3, 4)
    assert rig.runtime.subnet == OLD
    await rig.stop()
    await rig.start()
    await sent_again(rig, 5, 6)
    assert rig.runtime.subnet == OLD, "nor by a restart"


async def test_a_runtime_without_memory_accepts_the_wanted_subnet_at_once(rig: Rig) -> None:
    await join(rig, OLD)
    rig.runtime.refuse.add(NEW)
    own(rig, OLD, NEW)
    await rig.runtime.stop()
    await rig.stop()
    rig.runtime.subnet = ""
    rig.runtime.refuse.clear()
    await rig.runtime.start()
    await rig.start()
    await rig.ready()
    await eventually(lambda: rig.runtime.subnet == NEW)


async def test_an_ipv6_subnet_moves_as_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """t1: A new IPv6 subnet, too, is taken by the runtime when no address is in use, and refused before."""
    monkeypatch.setattr(link, "_POLL", 0.1)
    await join(rig, OLD, OLD6, clusterCIDRsV6=["fd42::/48"])
    rig.runtime.refuse.add(NEW6)
    own(rig, OLD, OLD6, NEW6)
    await eventually(lambda: len(rig.runtime.refused) > 1)
    assert not rig.agent.report.unready()
    assert rig.runtime.subnet_v6 == OLD6
    await rig.stop()
    rig.runtime.refuse.clear()
    await rig.start()
    await soon(lambda: rig.runtime.subnet_v6 == NEW6)
    assert (rig.runtime.subnet, rig.runtime.subnet_v6) == (OLD, NEW6)
    await rig.ready()


async def test_a_pod_cidr_of_another_length_is_moved_to(rig: Rig) -> None:
    await join(rig, OLD, ipam={"mode": "kubernetes"})
    own(rig, OLD, "10.42.1.0/25")
    await eventually(lambda: rig.runtime.subnet == "10.42.1.0/25")
    await rig.ready()


async def test_a_status_that_older_crds_refuse_is_written_without_the_newer_field(rig: Rig) -> None:
    rig.api.undeclared = "servedSubnets"
    await join(rig, OLD)
    await eventually(lambda: rig.condition("DataplaneInSync").get("status") == "True")
    assert rig.status()["hostIP"] == "198.18.0.1"
    assert "servedSubnets" not in rig.status()


subnets = st.sampled_from([f"10.42.{number}.0/24" for number in range(1, 6)])
phases = st.sampled_from([UP, DOWN, RELEASING])


@given(
    st.lists(st.tuples(subnets, phases), max_size=4, unique_by=lambda claim: claim[0]),
    st.lists(subnets, max_size=1),
    st.lists(subnets, max_size=2),
)
def test_the_subnet_in_use_comes_before_all_others_and_any_before_a_releasing_one(
    held: list[tuple[str, str]], served: list[str], listed: list[str]
) -> None:
    """t2: A node uses no claim that is being released, and of the others the one that its runtime serves."""
    table = PeerTable("self", "vxlan100")
    table.replace(make_peer("default", cidr, "self", phase, "198.18.0.1") for cidr, phase in held)
    view = View(FakeKernel([]), table, "self", "default", "")
    view.served, view.listed = tuple(served), tuple(listed)
    usable = {cidr for cidr, phase in held if phase != RELEASING}
    chosen = {view.claim.cidr} if view.claim else set()
    assert chosen <= usable
    assert bool(chosen) == bool(usable)
    assert chosen == usable & set(served) or not usable & set(served)

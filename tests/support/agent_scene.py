"""A mesh around the agent under test, and what its kernel holds of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from quilt_crds.names import vtep_mac
from quilt_netlink import Address, Link, Put
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.kernel.observe import RouteReader, read_fdb, read_neighbours
from tests.support.agent_doubles import Rig
from tests.support.agent_doubles import rig as make_rig


def fake_host() -> FakeKernel:
    """A fake kernel whose eth0 has 198.18.0.1."""
    kernel = FakeKernel([Link("eth0", kind="veth", mac="02:00:00:00:00:11", mtu=1500, up=True)])
    eth0 = kernel.link("eth0")
    assert eth0 is not None
    kernel.run(Put(Address(eth0.index, "198.18.0.1/24")))
    return kernel


@asynccontextmanager
async def fake_rig(folder: Path) -> AsyncIterator[Rig]:
    """A rig on such a kernel."""
    kernel = fake_host()
    async with make_rig(kernel, folder, kernel.monitor) as made:
        yield made


def device(rig: Rig) -> Link:
    link = rig.kernel.link("vxlan100")
    assert link is not None
    return link


def routed(rig: Rig) -> dict[str, Hop]:
    return RouteReader(rig.kernel).read()


def programmed(rig: Rig, *numbers: int) -> bool:
    """Whether exactly these peers (10.42.N.0/24 on node nN) stand in the kernel, each as it must."""
    link = rig.kernel.link("vxlan100")
    if link is None:
        return False
    return (
        routed(rig) == {f"10.42.{n}.0/24": Hop(f"10.42.{n}.0", "vxlan100") for n in numbers}
        and read_neighbours(rig.kernel, link.index)
        == {f"10.42.{n}.0": vtep_mac("default", f"n{n}") for n in numbers}
        and read_fdb(rig.kernel, link.index)
        == {vtep_mac("default", f"n{n}"): f"198.18.0.{n}" for n in numbers}
    )


def publish(rig: Rig, *numbers: int, phase: str = "Up") -> None:
    for number in numbers:
        rig.api.claim(f"10.42.{number}.0/24", f"n{number}", f"198.18.0.{number}", phase)


async def mesh(rig: Rig, *numbers: int) -> None:
    """A ready agent with its own subnet and peers."""
    rig.network()
    rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
    publish(rig, *numbers)
    await rig.start()
    await rig.ready()
    assert programmed(rig, *numbers)

"""An API server disappears silently while a node dies: the kernels of those that watch it follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench.node import in_namespace
from quilt_netlink import Address, Kernel, Link, Monitor, Put
from tests.support.agent_doubles import Rig
from tests.support.agent_doubles import rig as make_rig
from tests.support.agent_scene import mesh, programmed, publish
from tests.support.namespaces import Namespace


def with_an_agent(netns: Namespace, folder: Path, work: Callable[[Rig], Awaitable[None]]) -> None:
    """Do something with an agent that has two peers, API server and all in the namespace."""

    async def run() -> None:
        with Kernel.open() as kernel:
            kernel.run(Put(Link("eth0", kind="veth", up=True, mtu=1500, peer=Link("switch", up=True))))
            for name in ("eth0", "switch"):
                link = kernel.link(name)
                assert link is not None
                kernel.run(Put(Link(name, index=link.index, up=True)))
                if name == "eth0":
                    kernel.run(Put(Address(link.index, "198.18.0.1/24")))
            async with make_rig(kernel, folder, Monitor) as rig:
                await mesh(rig, 2, 3)
                await work(rig)

    in_namespace(netns.path, lambda: asyncio.run(run()))


async def forgets(rig: Rig, patience: float) -> bool:
    """Whether the third node leaves the kernel; the patience is the test's."""
    try:
        async with asyncio.timeout(patience):
            while not programmed(rig, 2):  # noqa: ASYNC110  kernel state has no event that covers every condition
                await asyncio.sleep(0.1)
    except TimeoutError:
        return False
    return True


def cut_off(netns: Namespace, url: str) -> None:
    """Lose every packet of the connections to the API server that there are, either way."""
    port = url.rpartition(":")[2]
    lines = netns.run("ss", "-Htn", "dport", "=", f":{port}").splitlines()
    ports = ", ".join(line.split()[3].rpartition(":")[2] for line in lines)
    netns.run(
        "nft", "-f", "-",
        stdin=f"""table inet cut {{ chain lost {{ type filter hook input priority 0; policy accept;
            tcp sport {port} tcp dport {{ {ports} }} drop
            tcp dport {port} tcp sport {{ {ports} }} drop
        }}
        }}
        """,
    )  # fmt: skip


@pytest.mark.timeout(200)
def test_a_withdrawal_reaches_the_kernel_when_the_api_server_was_cut_off(
    netns: Namespace, tmp_path: Path
) -> None:
    """t5: A withdrawal reaches the kernel of a node whose API server was cut off without FIN or RST."""

    async def work(rig: Rig) -> None:
        await asyncio.to_thread(cut_off, netns, rig.url)
        publish(rig, 3, phase="Down")
        assert await forgets(rig, 60.0)

    with_an_agent(netns, tmp_path, work)


@pytest.mark.timeout(300)
def test_a_withdrawal_reaches_the_kernel_when_the_api_server_hangs(netns: Namespace, tmp_path: Path) -> None:
    """t5: A withdrawal reaches the kernel of a node whose API server hangs but acknowledges."""

    async def work(rig: Rig) -> None:
        rig.api.freeze()
        publish(rig, 3, phase="Down")
        assert await forgets(rig, 120.0)

    with_an_agent(netns, tmp_path, work)

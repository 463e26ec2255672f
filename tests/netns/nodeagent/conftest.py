"""An agent on the real kernel, in a throw-away namespace; API server and runtime are doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quilt_netlink import Address, Kernel, Link, Monitor, Put
from tests.support.namespaces import Namespace

if TYPE_CHECKING:
    from tests.support.agent_doubles import Rig


@pytest.fixture
def peer_netns(make_netns: Callable[[], Namespace]) -> Namespace:
    """The namespace of another host."""
    return make_netns()


@pytest.fixture
async def rig(kernel: Kernel, netns: Namespace, tmp_path: Path) -> AsyncIterator[Rig]:
    """A node with one NIC, eth0 at 198.18.0.1/24; its other end `switch` is up."""
    from tests.support.agent_doubles import rig as make_rig

    kernel.run(Put(Link("eth0", kind="veth", up=True, mtu=1500, peer=Link("switch", up=True))))
    for name in ("eth0", "switch"):
        link = kernel.link(name)
        assert link is not None
        kernel.run(Put(Link(name, index=link.index, up=True)))
        if name == "eth0":
            kernel.run(Put(Address(link.index, "198.18.0.1/24")))
    async with make_rig(kernel, tmp_path, lambda: Monitor(netns_path=netns.path)) as made:
        yield made

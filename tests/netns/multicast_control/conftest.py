"""A control plane inside a namespace, and a PIM speaker at the other end of a real link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.pim_speaker import Speaker, entered, until_up


@dataclass(frozen=True)
class Link:
    """A node's namespace and a router's, joined by a link: eth1 with 10.9.0.1 here, 10.9.0.2 there."""

    node: Any
    router: Any


@pytest.fixture
def link(make_netns: Callable[[], Any]) -> Iterator[Link]:
    """Two namespaces with a link; the test itself runs inside the node's."""
    node, router = make_netns(), make_netns()
    node.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", router.name)
    for side, address in ((node, "10.9.0.1/24"), (router, "10.9.0.2/24")):
        side.run("ip", "addr", "add", address, "dev", "eth1")
        side.run("ip", "link", "set", "eth1", "up")
    router.run("ip", "addr", "add", "10.9.0.3/24", "dev", "eth1")
    until_up(node, router)
    with entered(node.path):
        yield Link(node, router)


@pytest.fixture
def speaker(link: Link) -> Iterator[Any]:
    """PIM from 10.9.0.2, on the router's side."""
    with entered(link.router.path):
        made = Speaker("10.9.0.2")
    yield made
    made.close()


@pytest.fixture
def stranger(link: Link) -> Iterator[Any]:
    """PIM from 10.9.0.3, on the same link."""
    with entered(link.router.path):
        made = Speaker("10.9.0.3")
    yield made
    made.close()

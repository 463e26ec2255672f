"""Throw-away network namespaces: tests use the real kernel and touch nothing of the machine's own network."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from quilt_netlink import Kernel
from tests.support.namespaces import Namespace


@pytest.fixture
def make_netns() -> Iterator[Callable[[], Namespace]]:
    """Make namespaces, with loopback up."""
    with ExitStack() as stack:

        def make() -> Namespace:
            name = f"quilt-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            subprocess.run(["ip", "netns", "add", name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            namespace = Namespace(name)
            namespace.run("ip", "link", "set", "lo", "up")
            return namespace

        yield make


@pytest.fixture
def netns(make_netns: Callable[[], Namespace]) -> Namespace:
    """A fresh network namespace."""
    return make_netns()


@pytest.fixture
def kernel(netns: Namespace) -> Iterator[Kernel]:
    """The kernel of a fresh network namespace."""
    with netns.kernel() as opened:
        yield opened

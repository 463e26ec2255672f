"""Throw-away network namespaces: tests use the real kernel and touch nothing of the machine's own network."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from quilt_netlink import Kernel


@dataclass(frozen=True)
class Namespace:
    """A network namespace of one test; it and everything in it goes when the test ends, passed or failed."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a program inside; return what it printed."""
        argv = ["ip", "netns", "exec", self.name, *command]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
        return done.stdout

    def kernel(self) -> Kernel:
        return Kernel.open(self.path)

    def descriptor(self) -> int:
        """Open the namespace itself; the caller closes it."""
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)


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

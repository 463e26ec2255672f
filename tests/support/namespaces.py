"""Throw-away network namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass

from quilt_netlink import Kernel
from quilt_netlink.channel import open_socket


@dataclass(frozen=True)
class Namespace:
    """A network namespace of one test; all of it is removed when the test ends, passed or failed."""

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


def socket_inside(netns: Namespace) -> socket.socket:
    """A socket for device calls in a namespace: netlink's are, and any socket will do."""
    return open_socket(netns_path=netns.path)

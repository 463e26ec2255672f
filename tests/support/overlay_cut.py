"""The overlay's packets dropped one way between two nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mesh import Mesh


@contextmanager
def cut(mesh: Mesh, source: str, target: str, only: str = "") -> Iterator[None]:
    """Drop the overlay's packets from one node where they come to another, or those that `only` matches."""
    host = mesh.cluster.node_ip(source)
    rules = "type filter hook input priority -300 ;"
    for line in (
        "add table ip cut",
        f"add chain ip cut cut {{ {rules} }}",
        f"add rule ip cut cut udp dport 4789 ip saddr {host} {only} drop",
    ):
        mesh.on(target, "nft", line)
    try:
        yield
    finally:
        mesh.on(target, "nft", "delete table ip cut")

"""A firewall of others that drops what a node's pods send into the overlay."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mesh import Mesh

NAMED = "Chain inet wall f drops packets"
"""How `quiltctl status` begins to name it."""


@contextmanager
def wall(mesh: Mesh, node: str) -> Iterator[None]:
    """Nobody repairs it while the block runs: it is another's rule."""
    for line in (
        "nft add table inet wall",
        "nft add chain inet wall f '{ type filter hook forward priority 0 ; }'",
        "nft add rule inet wall f iifname quilt0 oifname vxlan100 counter drop",
    ):
        mesh.on(node, *shlex.split(line))
    try:
        yield
    finally:
        mesh.on(node, "nft", "delete", "table", "inet", "wall")

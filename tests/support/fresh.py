"""Clusters of the tests, named after the checkout so that two checkouts can be tested at once."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from quilt_devcluster import Cluster, bringup

NEWER_DEBIAN, NEWER_PYTHON = "trixie", "Python 3.13."
"""What the images are also tested on, beside bookworm, and the Python that it brings."""

CHECKOUT = f"{zlib.crc32(str(Path(__file__).parents[2]).encode()):08x}"


def fresh_cluster(name: str, **options: Any) -> Cluster:
    """Start a cluster; one of the same name that an interrupted run left behind is removed first."""
    unique = f"{name}-{CHECKOUT}"
    bringup.down(unique)
    return Cluster.up(name=unique, **options)

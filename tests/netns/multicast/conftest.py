"""A mesh of three nodes for the tests of multicast."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.multicast_world import World, make_world


@pytest.fixture
async def world(make_netns: Callable[[], Any], tmp_path: Path) -> AsyncIterator[World]:
    """Three nodes, two pods each, multicast started and every node knowing the others."""
    async with make_world(make_netns, tmp_path) as made:
        yield made

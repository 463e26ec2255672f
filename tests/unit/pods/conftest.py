"""What all tests of a node's pods use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.pods_scene import Scene
from tests.support.pods_scene import scene as make_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with make_scene(tmp_path) as made:
        yield made

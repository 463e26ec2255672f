"""Makes the client and the provider of these tests importable, and a control plane that serves."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from quilt_pim import interfaces
from tests.support import control_doubles


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[control_doubles.Running]:
    """A control plane with default settings."""
    async with control_doubles.serving(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def client(running: control_doubles.Running) -> control_doubles.Client:
    """A connection to it."""
    return await running.client()


@pytest.fixture
def multicast_interface() -> str:
    """An interface of this machine that carries multicast; skipped where loopback is the only one."""
    for _, name in socket.if_nameindex():
        if interfaces.look(name).multicast:
            return name
    pytest.skip("no interface of this machine carries multicast")

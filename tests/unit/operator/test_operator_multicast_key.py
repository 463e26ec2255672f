"""The key of multicast: created once by the leader, never read and never replaced."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from quilt_kube.request import ApiError, Request
from quilt_operator import multicast_key
from quilt_operator.api.client import Client


class Secrets:
    """The Secrets of a namespace, for an account that may only create them."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.wanted, self.enough = 0, asyncio.Event()
        self.refuses = False

    async def ask(self, request: Request) -> dict[str, Any]:
        assert (request.method, request.path) == ("POST", "/api/v1/namespaces/quilt-system/secrets")
        assert request.query["fieldManager"]
        self.asked += 1
        if self.asked >= self.wanted:
            self.enough.set()
        if self.refuses:
            raise ApiError(403, "quilt-operator cannot create secrets", "Forbidden")
        body = dict(request.document)
        name = body["metadata"]["name"]
        if name in self.held:
            raise ApiError(409, f"{name} already exists", "AlreadyExists")
        self.held[name] = body
        return body

    async def settle(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        """Run until it was asked this many times."""
        monkeypatch.setattr(multicast_key, "_LOOK_AGAIN", 0.0)
        keeping = multicast_key.keep(cast("Client", self), "quilt-system", "quilt-multicast")
        task = asyncio.create_task(keeping)
        self.wanted, self.enough = times, asyncio.Event()
        await self.enough.wait()
        task.cancel()


@pytest.fixture
def held() -> Secrets:
    return Secrets()


async def test_a_key_is_created_where_there_is_none(held: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    await held.settle(monkeypatch, 1)
    secret = held.held["quilt-multicast"]
    assert len(secret["stringData"]["key"]) >= 32
    other = Secrets()
    await other.settle(monkeypatch, 1)
    assert other.held["quilt-multicast"]["stringData"] != secret["stringData"], "each cluster has its own"


async def test_a_key_that_is_there_stays(held: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    before: dict[str, Any] = {"metadata": {"name": "quilt-multicast"}, "stringData": {"key": "theirs"}}
    held.held["quilt-multicast"] = before
    await held.settle(monkeypatch, 3)
    assert held.held["quilt-multicast"] is before


async def test_a_deleted_key_comes_again_and_a_refusal_ends_nothing(
    held: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.refuses = True
    await held.settle(monkeypatch, 2)
    assert not held.held
    held.refuses = False
    await held.settle(monkeypatch, 3)
    assert "quilt-multicast" in held.held

"""Heartbeats of a few nodes, with the clock and the Leases in the test's hand."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from quilt_crds.names import KUBELET_LEASE_NAMESPACE, LEASE_NAMESPACE
from quilt_crds.wire import Lease, LeaseSpec, Meta
from quilt_kube.request import ApiError
from quilt_operator import heartbeats
from quilt_operator.api.client import Client
from quilt_operator.api.election import Election
from quilt_operator.heartbeats import Heartbeats

FOLDERS = {"agent": LEASE_NAMESPACE, "kubelet": KUBELET_LEASE_NAMESPACE}


class Leases:
    """What a fresh request for the Leases of a folder is answered with."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, str]] = {namespace: {} for namespace in FOLDERS.values()}
        self.refused: set[str] = set()
        self.lists = 0

    async def list(self, path: str, kind: type[Lease]) -> tuple[list[Lease], int]:
        self.lists += 1
        folder = path.split("/")[-2]
        if folder in self.refused:
            raise ApiError(500, "no such luck", "InternalError")
        texts = self.folders[folder].items()
        return [kind(Meta(name), LeaseSpec(renew_time=text)) for name, text in texts], 1


class Clocked:
    """Heartbeats, and the monotonic clock that they see."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(heartbeats, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.client = Leases()
        self.judged: list[str] = []
        self.beats = Heartbeats(
            cast(Client, self.client),
            cast(Election, SimpleNamespace(renewed=float("inf"))),
            lambda request: self.judged.append(request.name),
            lambda: None,
        )

    def know(self, names: Iterable[str], *, reported: bool = True) -> None:
        """Have nodes watched from now on: nodes that run, or such as were only prepared."""
        known = list(names)
        for name in known:
            self.beats.health(name)
        if reported:
            self.renew("agent", known)

    def down(self) -> set[str]:
        return {name for name, health in self.beats._standing.items() if health.down}

    def unresponsive(self) -> set[str]:
        return {name for name, health in self.beats._standing.items() if health.agent_unresponsive}

    def renew(self, field: str, names: Iterable[str], *, seen: bool = True) -> None:
        """Renew Leases; without `seen` the watch of that folder says nothing of it."""
        known = list(names)
        lease = dict.fromkeys(known, str(self.now))
        self.client.folders[FOLDERS[field]].update(lease)
        if seen:
            self.beats.watches[field].seen.update(lease)
            self.beats._renewed(field, known)

    async def pass_time(
        self,
        seconds: int,
        agents: Iterable[str],
        kubelets: Iterable[str] = (),
        *,
        seen: bool = True,
        step: int = 1,
    ) -> None:
        """Let seconds go by, in each of which (or each few) the nodes named renew and all are judged."""
        alive, hosts = list(agents), list(kubelets)
        for _ in range(0, seconds, step):
            self.now += step
            self.renew("agent", alive, seen=seen)
            self.renew("kubelet", hosts)
            await self.beats.look()

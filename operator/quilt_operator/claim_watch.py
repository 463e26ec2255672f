"""Watching QuiltSubnets: every state of a claim enters the view."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from quilt_crds.names import QUILTSUBNET
from quilt_crds.wire import QuiltSubnet
from quilt_kube.listwatch import SILENCE
from quilt_operator.api.client import Client
from quilt_operator.api.following import Followed
from quilt_operator.world import World


class ClaimWatch(Followed[QuiltSubnet]):
    """Follows all QuiltSubnets and keeps the view up to date."""

    def __init__(self, client: Client, world: World, silence: float = SILENCE) -> None:
        super().__init__(
            client,
            QUILTSUBNET.path(),
            QuiltSubnet,
            listed=self._all,
            changed=self._some,
            limit=500,
            silence=silence,
        )
        self.complete = asyncio.Event()
        """Set once the view has all claims."""
        self._world = world

    def _all(self, claims: Iterable[QuiltSubnet]) -> None:
        names = set()
        for claim in claims:
            self._world.put_claim(claim)
            names.add(claim.name)
        self._world.keep(QUILTSUBNET.plural, names, int(self.version))
        self.complete.set()

    def _some(self, events: Sequence[tuple[str, QuiltSubnet]]) -> None:
        for kind, claim in events:
            if kind == "DELETED":
                self._world.forget(QUILTSUBNET.plural, claim.name, claim.version)
            else:
                self._world.put_claim(claim)

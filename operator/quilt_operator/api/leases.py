"""Watching Leases: which ones were renewed. Their text is compared, never understood as a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from quilt_crds.names import LEASE
from quilt_crds.wire import Lease
from quilt_kube.listwatch import SILENCE
from quilt_kube.request import SilentError
from quilt_operator.api.client import Client
from quilt_operator.api.following import Followed

# Seconds. A watch that is back within this time has missed nothing that matters.
_SHORT_GAP = 2.0


class LeaseWatch(Followed[Lease]):
    """Follows all Leases of one namespace.

    `renewed(names)` is called with the Leases that changed. `restarted()` is called when observation has
    begun again, so that silence before now means nothing; `rewound` as of a ListWatch.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        renewed: Callable[[Iterable[str]], None],
        restarted: Callable[[], None],
        rewound: Callable[[], None] = lambda: None,
    ) -> None:
        path = LEASE.path(namespace=namespace)
        super().__init__(client, path, Lease, listed=self._all, changed=self._some, rewound=rewound)
        self.namespace = namespace
        self.first_list = asyncio.Event()
        """Set once all Leases were seen."""
        self.seen: dict[str, str] = {}
        """Lease name -> renewTime as last seen; empty for one that was never renewed."""
        self._renewed = renewed
        self._restarted = restarted
        self._away_since = float("inf")

    @property
    def alive(self) -> bool:
        """Whether the API server answered lately."""
        return self.age < SILENCE

    def feed(self, data: bytes) -> None:
        """Accept what was read of a watch's answer."""
        if not data:
            if time.monotonic() - self._away_since > _SHORT_GAP:
                self._restarted()
            self._away_since = float("inf")
        super().feed(data)

    def ended(self, error: Exception | None = None) -> float:
        """Take note of how a request failed, or that a watch ended; return the seconds to wait."""
        since = self.received_at if isinstance(error, SilentError) else time.monotonic()
        self._away_since = min(self._away_since, since)
        return super().ended(error)

    def _all(self, leases: Iterable[Lease]) -> None:
        """What changed unseen counts as renewed now."""
        found = {lease.name: lease.spec.renew_time for lease in leases}
        if self.first_list.is_set():
            self._renewed([name for name, text in found.items() if self.seen.get(name) != text])
        self.seen = found
        self._restarted()
        self.first_list.set()

    def _some(self, events: Sequence[tuple[str, Lease]]) -> None:
        renewed = []
        for kind, lease in events:
            name, text = lease.name, lease.spec.renew_time
            if kind == "DELETED":
                self.seen.pop(name, None)
            elif self.seen.get(name) != text:
                self.seen[name] = text
                renewed.append(name)
        if renewed:
            self._renewed(renewed)

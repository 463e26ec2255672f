"""Watching Leases: which ones were renewed. Their text is compared, never understood as a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from quilt_crds.wire import Lease
from quilt_kube.access import Access
from quilt_kube.listwatch import SILENCE
from quilt_kube.request import SilentError
from quilt_operator.api.following import Followed

# Seconds. A watch that is back within this time has missed nothing that matters.
_SHORT_GAP = 2.0


class LeaseWatch(Followed[Lease]):
    """Follows all Leases of one namespace; reads of its properties are safe from other threads.

    `renewed(names)` is called in a thread with the Leases that changed. `restarted()` is called when
    observation has begun again, so that silence before now means nothing.
    """

    def __init__(
        self,
        access: Access,
        namespace: str,
        renewed: Callable[[Iterable[str]], None],
        restarted: Callable[[], None],
    ) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        super().__init__(access, path, Lease, listed=self._all, changed=self._some)
        self.namespace = namespace
        self.first_list = threading.Event()
        """Set once all Leases were seen."""
        self._renewed = renewed
        self._restarted = restarted
        self._seen: dict[str, str] = {}
        self._away_since = float("inf")

    @property
    def alive(self) -> bool:
        """Whether the API server answered lately."""
        return self.age < SILENCE

    def snapshot(self) -> dict[str, str]:
        """Lease name -> renewTime as last seen (a copy)."""
        return dict(self._seen)

    def saw(self, name: str) -> bool:
        """Whether there is a Lease of that name that was ever renewed."""
        return bool(self._seen.get(name))

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
        found = {lease.metadata.name: lease.spec.renew_time for lease in leases}
        if self.first_list.is_set():
            self._renewed([name for name, text in found.items() if self._seen.get(name) != text])
        self._seen = found
        self._restarted()
        self.first_list.set()

    def _some(self, events: Sequence[tuple[str, Lease]]) -> None:
        renewed = []
        for kind, lease in events:
            name, text = lease.metadata.name, lease.spec.renew_time
            if kind == "DELETED":
                self._seen.pop(name, None)
            elif self._seen.get(name) != text:
                self._seen[name] = text
                renewed.append(name)
        if renewed:
            self._renewed(renewed)

"""Who is notified of what happens to members and flows."""

from __future__ import annotations

from typing import Protocol

from quilt_multicast.core.state import Flow, Forward


class Observer(Protocol):
    """Who hears of changes: the control socket's events."""

    def member(self, group: str, port: int, joined: bool) -> None:
        """A pod joined or left."""
        ...

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        """An entry of the routing table was made, changed or removed."""
        ...


class Silent:
    """An observer of nothing."""

    def member(self, group: str, port: int, joined: bool) -> None:
        """Ignore it."""

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        """Ignore it."""

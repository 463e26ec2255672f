"""Who is notified of what happens to members and flows."""

from __future__ import annotations

from quilt_multicast.core.state import Flow, Forward


class Observer:
    """Hears of changes, as the control socket's events do; this one ignores them."""

    def member(self, group: str, joined: bool) -> None:
        """This node's pods became members of a group, or none is left."""

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        """An entry of the routing table was made, changed or removed."""

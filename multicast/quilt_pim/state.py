"""What the control plane asks of the dataplane: a Protocol, so that each is tested without the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from quilt_multicast.view import GroupInfo, RouteInfo


class MulticastState(Protocol):
    """The dataplane as the API shows it; each call is cheap and never waits."""

    def groups(self) -> Sequence[GroupInfo]:
        """Groups that have members here or elsewhere."""

    def routes(self) -> Sequence[RouteInfo]:
        """Routes that the mesh made."""

    def counters(self) -> Mapping[str, int]:
        """Counters by name."""


class NoState:
    """Before there is a dataplane: nothing."""

    def groups(self) -> Sequence[GroupInfo]:
        """No groups."""
        return ()

    def routes(self) -> Sequence[RouteInfo]:
        """No routes."""
        return ()

    def counters(self) -> Mapping[str, int]:
        """No counters."""
        return {}

"""Memberships of this node's pods: what becomes of one is reported to the other nodes and to an observer."""

from __future__ import annotations

from collections.abc import Callable

from quilt_multicast.core.members import LocalMembers
from quilt_multicast.observer import Observer


class Membership:
    """`tell(group, member)` is called when pods become members of a group, or none is left."""

    def __init__(self, local: LocalMembers, tell: Callable[[str, bool], None], observer: Observer) -> None:
        self._local = local
        self._tell = tell
        self._observer = observer

    def follow(self, port: int, group: str, joined: bool) -> bool:
        """Take in that a pod joined or left; return whether the group came or went."""
        held = port in self._local.ports(group)
        changed = (self._local.join if joined else self._local.leave)(port, group)
        if held != (port in self._local.ports(group)):
            self._observer.member(group, port, joined)
        if changed:
            self._tell(group, joined)
        return changed

    def replace(self, members: set[tuple[int, str]]) -> None:
        """Take in all (port, group) that there are."""
        before = self._local.members
        for group in self._local.replace(members):
            self._tell(group, group in self._local)
        after = self._local.members
        for port, group in before ^ after:
            self._observer.member(group, port, (port, group) in after)

"""The table `bridge quilt` in the kernel: written as a whole, followed pod by pod, compared with what the
kernel holds.

A pod that starts or ends is a few elements of its sets, written and not read. That somebody else changed the
table is seen in its rules, as nft lists them without members, and in the members, as the kernel holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network

from quilt_netlink.nftsets import BRIDGE
from quilt_runtime.core import guard
from quilt_runtime.core.guard import Port
from quilt_runtime.kernel import nft

MOST_FOLLOWED = 200
"""Pods whose elements are surely within the limits of one change."""


class UnsupportedError(Exception):
    """This kernel cannot filter on bridges."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the table depends on; ports by the name of their interface."""

    subnet: IPv4Network
    ports: dict[str, Port] = field(default_factory=dict)


class GuardTable:
    """Not for several threads."""

    def __init__(self) -> None:
        self._held: Wanted | None = None
        self._rules = ""
        self._sets = nft.Sets(BRIDGE)

    def ensure(self, wanted: Wanted) -> list[str]:
        """Write what differs from what was written before; returns what was. Raises NftError,
        UnsupportedError.
        """
        held = self._held
        if wanted == held:
            return []
        if held is None or held.subnet != wanted.subnet or not self._follow(held, wanted):
            self._replace(wanted)
        self._held = wanted
        return ["guard"]

    def check(self, wanted: Wanted) -> list[str]:
        """As ensure, after reading whether someone else changed the table."""
        held = self._held
        if held is not None and not self._is_intact(held):
            self._held = None
        return self.ensure(wanted)

    def leave(self) -> None:
        """Have the table look at nobody but the pods of now; nothing without a table. Raises NftError."""
        held, self._held = self._held, None
        if held is not None:
            nft.apply(*guard.unattended(guard.bridge_mac(held.subnet), held.ports))

    def remove(self) -> list[str]:
        """Take the table away; returns what was. Raises NftError."""
        self._held = None
        if not nft.listing(guard.FAMILY, "--terse"):
            return []
        nft.apply(*guard.gone())
        return ["guard"]

    def _is_intact(self, held: Wanted) -> bool:
        if nft.listing(guard.FAMILY, "--terse") != self._rules:
            return False
        return all(self._sets.members(name) == keys for name, keys in guard.keys(held.ports).items())

    def _replace(self, wanted: Wanted) -> None:
        self._held = None
        try:
            nft.apply(*guard.ruleset(wanted.subnet, guard.bridge_mac(wanted.subnet), wanted.ports))
        except nft.NftError:
            if nft.accepts(guard.probe()):
                raise
            raise UnsupportedError from None
        self._rules = nft.listing(guard.FAMILY, "--terse")

    def _follow(self, held: Wanted, wanted: Wanted) -> bool:
        """Write the difference of the ports; false where others' change or the difference's size is in its
        way.
        """
        changed = {name for name, _ in held.ports.items() ^ wanted.ports.items()}
        if len(changed) > MOST_FOLLOWED:
            return False
        old, new = (
            [ports[name] for name in changed if name in ports] for ports in (held.ports, wanted.ports)
        )
        try:
            self._sets.change(guard.changes(old, new))
        except nft.NftError:
            return False
        return True

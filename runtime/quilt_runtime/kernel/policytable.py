"""The table `inet quilt-policy` in the kernel: chains by libnftables, which is never asked about elements;
these by netlink.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Mapping

from quilt_log import log
from quilt_netlink import NetlinkError
from quilt_netlink.nftsets import Element, NftSets
from quilt_runtime.core import packed, policysteps
from quilt_runtime.core.policy import FAMILY, MAPS, TABLE, Structure
from quilt_runtime.core.policyjudged import FORGET
from quilt_runtime.core.policysets import Changes, Entries, Keys
from quilt_runtime.kernel import nft
from quilt_runtime.kernel.nft import NftError

SETTLE_S = 0.01
"""After that no packet is still on its way through rules of before."""
_MAPS = tuple(f"{name}{family}" for family in (4, 6) for name in (*MAPS, "self"))


class PolicyTable:
    """Safe to use from any thread; each method raises NftError where the kernel or nft refuses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sets: NftSets | None = None
        self._settle_until = 0.0

    def close(self) -> None:
        """Close the socket; the next use opens another."""
        if self._sets is not None:
            self._sets.close()
            self._sets = None

    def run(self, transaction: str) -> None:
        """Carry out a transaction of nft's."""
        if transaction:
            nft.apply_at_once(transaction, TABLE)

    def change(self, changes: Changes) -> None:
        """Carry out changes of elements as one transaction.

        Where what was judged is forgotten it is forgotten once more SETTLE_S later: a packet that was on its
        way may have been remembered meanwhile.
        """
        if not changes:
            return
        self._change(changes)
        if FORGET[0] in changes:
            self._settle_until = time.monotonic() + SETTLE_S
            timer = threading.Timer(SETTLE_S, self._judge_again)
            timer.daemon = True
            timer.start()

    def settle(self) -> None:
        """Forget once more at once what was judged, where it was forgotten a moment ago."""
        if time.monotonic() < self._settle_until:
            self._judge_again()

    def _judge_again(self) -> None:
        try:
            self._change(FORGET)
        except NftError as error:  # the table is gone, or others write to it: its repair empties this too
            log.info("policies_not_settled", reason=str(error))

    def _change(self, changes: Changes) -> None:
        with self._lock:
            try:
                sets = self._opened()
                nft.remember(sets.port)
                sets.change(changes)
            except OSError as error:
                self.close()
                raise NftError(f"nftables refused addresses of the table {TABLE}: {error}") from error

    def remove(self) -> bool:
        """Remove the table; false where there was none."""
        if not self.listing():
            return False
        self.run(policysteps.removal())
        return True

    def listing(self) -> str:
        """Return the table without elements and counters, empty where it does not exist."""
        return nft.listing(FAMILY, "--terse", table=TABLE)

    def structure(self) -> Structure:
        """Return what there is by its names, with nothing known of rules."""
        sets: dict[str, str] = {}
        chains: dict[str, tuple[str, ...] | None] = {}
        bases: dict[str, tuple[str, ...] | None] = {}
        for entry in nft.entries("table", FAMILY, TABLE, options=("--terse",)):
            for kind in ("set", "map", "counter"):
                if kind in entry:
                    sets[entry[kind]["name"]] = f"{kind} {entry[kind]['name']}"
            if (chain := entry.get("chain")) is not None:
                (bases if "hook" in chain else chains)[chain["name"]] = None
        return Structure(sets, chains, bases)

    def entries(self) -> Entries:
        """Return the entries of the maps that there are."""
        return {
            name: {element.key: element.chain for element in found}
            for name in _MAPS
            if (found := self._elements(name))
        }

    def keys(self, wanted: Mapping[str, Keys], present: Iterable[str]) -> dict[str, Keys]:
        """Return what those of some sets hold that are present."""
        found = {}
        for name in wanted.keys() & set(present):
            size, ranges = wanted[name].size, wanted[name].ranges
            elements = self._elements(name)
            data = packed.ranges(elements) if ranges else packed.pack(element.key for element in elements)
            found[name] = Keys(data, size, ranges)
        return found

    def _elements(self, name: str) -> set[Element]:
        with self._lock:
            try:
                return self._opened().elements(name)
            except OSError as error:
                self.close()
                if isinstance(error, NetlinkError) and error.errno == errno.ENOENT:
                    return set()
                raise NftError(f"nftables refused to list a set of the table {TABLE}: {error}") from error

    def _opened(self) -> NftSets:
        self._sets = self._sets or NftSets(TABLE)
        return self._sets

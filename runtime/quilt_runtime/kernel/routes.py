"""Executes route changes: reads the kernel once per call, plans, writes in batches, tells each item's
outcome.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from quilt_netlink import Delete, Failure, Kernel, Link, NetlinkError, Op
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import (
    OURS,
    PROTOCOL_MESH,
    Plan,
    Planner,
    Step,
    View,
    Wanted,
    described,
)

RETRYABLE = frozenset(
    {errno.ENETDOWN, errno.EEXIST, errno.EINTR, errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}
)
RACED = frozenset({errno.EEXIST, errno.ENOENT, errno.ESRCH})
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item; `error` empty on success."""

    error: str = ""
    retryable: bool = False
    raced: bool = False
    """Another program wrote in between: the same call tries again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An add as asked for, already checked: canonical destination, gateway empty for a link-scope route."""

    destination: str
    gateway: str
    interface: str


DONE = Outcome()


class RouteExecutor:
    """One call at a time; another program's change between reading and writing is met by reading again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def apply(
        self,
        adds: Sequence[Asked],
        removes: Sequence[str],
        protocol: int,
        *,
        removable: frozenset[int],
        keep: frozenset[int] = frozenset(),
    ) -> list[Outcome]:
        """Add, then remove; one outcome per item, adds first. Routes of `protocol` are written.

        Only routes of the `removable` protocols are removed, others of ours are left without error; an
        existing equal route of a protocol in `keep` satisfies an add. Raises NetlinkError when the kernel
        cannot be read.
        """
        with self._lock, Kernel.open() as kernel:
            pending = list(range(len(adds) + len(removes)))
            outcomes: dict[int, Outcome] = {}
            for _ in range(ATTEMPTS):
                outcomes |= _Attempt(kernel, adds, removes).run(pending, protocol, removable, keep)
                pending = [item for item in pending if outcomes[item].raced]
                if not pending:
                    break
            return [outcomes[item] for item in range(len(adds) + len(removes))]

    def held(self, protocol: int = PROTOCOL_MESH) -> list[Asked]:
        """Return the routes of a protocol as the kernel holds them."""
        with Kernel.open() as kernel:
            view = View(kernel.routes(protocol), kernel.nexthops(PROTOCOL_MESH))
            names = _Names(kernel)
            return [Asked(prefix, via, names.of(index)) for prefix, via, index in described(view, {protocol})]

    def interface(self, name: str) -> Link:
        """Return an interface by name; raises RequestError where it does not exist."""
        with Kernel.open() as kernel:
            link = kernel.link(name)
        if link is None:
            raise RequestError(f"Interface '{name}' not found", retryable=True)
        return link

    def remove_all(self) -> int:
        """Remove every route and nexthop object of ours; returns how many routes went."""
        with self._lock, Kernel.open() as kernel:
            routes = [route for route in kernel.routes() if route.protocol in OURS]
            ops: list[Op] = [Delete(route) for route in routes]
            ops += [Delete(nexthop) for nexthop in kernel.nexthops(PROTOCOL_MESH)]
            kernel.apply(ops)
            return len(routes)


class _Names:
    """Interface names by index and back, asked of the kernel once each."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._links: dict[str | int, Link | None] = {}

    def link(self, key: str | int) -> Link | None:
        if key not in self._links:
            self._links[key] = self._kernel.link(key)
        return self._links[key]

    def of(self, index: int) -> str:
        link = self.link(index)
        return link.name if link else f"if{index}"


class _Attempt:
    """One reading of the kernel and the writes planned from it."""

    def __init__(self, kernel: Kernel, adds: Sequence[Asked], removes: Sequence[str]) -> None:
        self._kernel = kernel
        self._adds = adds
        self._removes = removes
        self._names = _Names(kernel)
        self._outcomes: dict[int, Outcome] = {}

    def run(
        self, items: Sequence[int], protocol: int, removable: frozenset[int], keep: frozenset[int]
    ) -> dict[int, Outcome]:
        plan = self._plan(items, protocol, removable, keep)
        for item, text in plan.refused.items():
            self._outcomes[item] = Outcome(text)
        self._write(plan.nexthops)
        self._write([step for step in plan.routes if step.item not in self._outcomes])
        self._kernel.apply(plan.garbage)
        return {item: self._outcomes.get(item, DONE) for item in items}

    def _plan(
        self, items: Sequence[int], protocol: int, removable: frozenset[int], keep: frozenset[int]
    ) -> Plan:
        planner = Planner(View(self._kernel.routes(), self._kernel.nexthops()), self._names.of)
        for item in items:
            if item >= len(self._adds):
                planner.remove(item, self._removes[item - len(self._adds)], removable)
                continue
            asked = self._adds[item]
            link = self._names.link(asked.interface)
            if link is None:
                self._outcomes[item] = Outcome(f"Interface '{asked.interface}' not found", retryable=True)
            else:
                planner.add(item, Wanted(asked.destination, link.index, asked.gateway), protocol, keep)
        return planner.finish()

    def _write(self, steps: Sequence[Step]) -> None:
        for failure in self._kernel.apply([step.op for step in steps]):
            if not (isinstance(failure.op, Delete) and failure.absent):
                self._outcomes[steps[failure.index].item] = _refusal(failure)


def _refusal(failure: Failure) -> Outcome:
    error = NetlinkError(failure.errno, failure.message)
    entry = failure.op.entry
    what = getattr(entry, "prefix", "") or f"next hop {getattr(entry, 'gateway', entry)}"
    hint = "; bring its interface up" if failure.errno == errno.ENETDOWN else ""
    text = f"Kernel refused {what}: {error.message}{hint}"
    return Outcome(text, failure.errno in RETRYABLE, raced=failure.errno in RACED)

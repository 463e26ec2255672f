"""One try to carry out route changes: a look at where they go, and the writes that follow from it."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import Create, Delete, Failure, KernelLike, NetlinkError, Nexthop, Op, Route, require
from quilt_runtime.core.routes import (
    CHANGED,
    OURS,
    UNCHANGED,
    Asked,
    Hop,
    Outcome,
    Terms,
    Wanted,
    addition,
    foreign,
    free_id,
    preferred_id,
    unused,
)
from quilt_runtime.kernel.lookup import Names, held_at

RETRYABLE = frozenset(
    {errno.ENETDOWN, errno.EEXIST, errno.EINTR, errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}
)
RACED = frozenset({errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL})


class Attempt:
    """One look at the kernel, and the writes that follow from it."""

    def __init__(self, kernel: KernelLike, terms: Terms, *, objects: bool, fully: bool) -> None:
        self._kernel = kernel
        self._terms = terms
        self._objects = objects
        self._fully = fully
        self._names = Names(kernel)
        self._outcomes: dict[int, Outcome] = {}
        self._ops: list[tuple[int, Op]] = []
        self._left: set[int] = set()

    def run(self, items: Sequence[Asked | str]) -> list[Outcome]:
        """Return an outcome for each of the items."""
        wanted = {at: want for at, item in enumerate(items) if (want := self._wanted(at, item))}
        prefixes = {at: want.prefix if isinstance(want, Wanted) else want for at, want in wanted.items()}
        # What is only added need not know of ours: it is created exclusively, and looks again where one is.
        adding = not self._fully and all(isinstance(want, Wanted) for want in wanted.values())
        held = held_at(
            self._kernel,
            set(prefixes.values()),
            careful=self._terms.careful,
            fully=self._fully,
            but=OURS if adding else frozenset(),
        )
        for at, prefix in prefixes.items():
            if other := foreign(held[prefix], beside_ours=isinstance(wanted[at], Wanted)):
                self._outcomes[at] = Outcome(self._foreign_text(other))
                del wanted[at]
        hops = self._next_hops({at: want for at, want in wanted.items() if isinstance(want, Wanted)})
        for at, want in wanted.items():
            self._plan(at, want, held, hops)
        self._write()
        return [self._outcomes.get(at, UNCHANGED) for at in range(len(items))]

    def _wanted(self, at: int, item: Asked | str) -> Wanted | str | None:
        """Return what is wanted with its device's index; a destination to remove is itself."""
        if isinstance(item, str):
            return item
        link = self._names.link(item.interface)
        if link is None:
            self._outcomes[at] = Outcome(f"Interface '{item.interface}' not found", retryable=True)
            return None
        return Wanted(item.destination, link.index, item.gateway)

    def _plan(self, at: int, want: Wanted | str, held: dict[str, list[Route]], hops: dict[Hop, int]) -> None:
        if at in self._outcomes:
            return  # its next hop object was refused
        prefix = want if isinstance(want, str) else want.prefix
        before = held[prefix]
        if isinstance(want, str):
            gone = [route for route in before if route.protocol in self._terms.removable]
            held[prefix] = [route for route in before if route not in gone]
            self._ops += [(at, Delete(route)) for route in gone]
        else:
            route = want.over(hops.get((want.gateway, want.ifindex), 0), self._terms.protocol)
            op = addition(route, before, self._terms.keep)
            gone = before if op else []
            if op:
                self._ops.append((at, op))
                held[prefix] = [route]
        self._left |= {route.nhid for route in gone if route.nhid}

    def _next_hops(self, wanted: dict[int, Wanted]) -> dict[Hop, int]:
        """Return the id of each gateway's next hop object, which is made where it is not there."""
        if not self._objects:
            return {}
        users: dict[Hop, list[int]] = {}
        for at, want in wanted.items():
            if want.gateway:
                users.setdefault((want.gateway, want.ifindex), []).append(at)
        ids = {hop: preferred_id(hop[0]) for hop in users}
        taken = self._create(ids, users)
        if taken:
            known = {nexthop.id: nexthop for nexthop in self._kernel.nexthops()}
            ours = {(n.gateway, n.ifindex): n.id for n in known.values() if n.protocol == MESH_PROTOCOL}
            ids |= {hop: ours[hop] for hop in taken if hop in ours}
            others = {hop: free_id(hop[0], known) for hop in taken if hop not in ours}
            ids |= others
            for hop in self._create(others, users):
                self._refuse(users[hop], Outcome("Next hop ids are being taken; try again", True, raced=True))
        return ids

    def _create(self, ids: dict[Hop, int], users: dict[Hop, list[int]]) -> list[Hop]:
        """Make next hop objects; return those whose id is taken."""
        hops = list(ids)
        ops: list[Op] = [Create(Nexthop(ids[hop], hop[1], hop[0], MESH_PROTOCOL)) for hop in hops]
        taken = []
        for failure in self._kernel.apply(ops):
            if failure.errno == errno.EEXIST:
                taken.append(hops[failure.index])
            else:
                self._refuse(users[hops[failure.index]], refusal(failure))
        return taken

    def _refuse(self, items: Iterable[int], outcome: Outcome) -> None:
        self._outcomes.update(dict.fromkeys(items, outcome))

    def _write(self) -> None:
        """Write the routes in one batch, and remove the next hop objects that are left without one."""
        failed = False
        self._outcomes.update({at: CHANGED for at, _ in self._ops})
        for failure in self._kernel.apply([op for _, op in self._ops]):
            if not found_nothing(failure):
                self._outcomes[self._ops[failure.index][0]] = refusal(failure)
                failed = True
        if self._objects and (self._left or failed):
            unneeded = unused(self._kernel.nexthops(MESH_PROTOCOL), self._kernel.routes())
            # What is gone by now is none of the caller's concern.
            require(self._kernel.apply([Delete(nexthop) for nexthop in unneeded]), absent=True)

    def _foreign_text(self, route: Route) -> str:
        via = f" via {route.gateway}" if route.gateway else ""
        device = f" dev {self._names.of(route.ifindex)}" if route.ifindex else ""
        return (
            f"Route {route.prefix}{via}{device} (protocol {route.protocol}) is not ours "
            "and was left as it is; remove it first"
        )


def found_nothing(failure: Failure) -> bool:
    """Whether it was the removal of what is not there."""
    return isinstance(failure.op, Delete) and failure.absent


def refusal(failure: Failure) -> Outcome:
    """Return what a refused write is answered with."""
    error = NetlinkError(failure.errno, failure.message)
    entry = failure.op.entry
    what = getattr(entry, "prefix", "") or f"next hop {getattr(entry, 'gateway', entry)}"
    hint = "; bring its interface up" if failure.errno == errno.ENETDOWN else ""
    text = f"Kernel refused {what}: {error.message}{hint}"
    return Outcome(text, failure.errno in RETRYABLE, raced=failure.errno in RACED)

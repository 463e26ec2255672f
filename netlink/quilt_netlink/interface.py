"""What the kernel and its stand-in in memory share; users depend on this and nothing else."""

from __future__ import annotations

import errno
from collections.abc import Collection, Sequence
from typing import Protocol, Self, TypeVar

from quilt_netlink import state
from quilt_netlink.ops import Create, Delete, Failure, NetlinkError, Op, require
from quilt_netlink.state import TABLE_MAIN
from quilt_netlink.tables import Narrow

T = TypeVar("T")


class KernelLike(Protocol):
    """Typed reads and writes of one network namespace.

    Every read raises NetlinkError when the kernel refuses it and DumpInterruptedError when the table would
    not hold still; a read never returns part of a table.
    """

    # What differs between the kernel and its stand-in; all raise NetlinkError. Of a kind's entries at least
    # those are read that are asked for.
    def _read(self, kind: type[T], narrow: Narrow) -> list[T]: ...
    def _create(self, link: state.Link) -> None: ...
    def _change(self, link: state.Link, now: state.Link) -> None: ...
    def _remove(self, link: state.Link) -> None: ...

    def _write_link(self, op: Op) -> None:
        link = op.entry
        if not isinstance(link, state.Link):
            raise NetlinkError(errno.EOPNOTSUPP, f"cannot write a {type(link).__name__}")
        now = self.link(link.index or link.name)
        if now is None and (link.index or isinstance(op, Delete)):
            which = f"with index {link.index}" if link.index else link.name
            raise NetlinkError(errno.ENODEV, f"there is no interface {which}")
        if now is None or isinstance(op, Create):
            self._create(link)
        elif isinstance(op, Delete):
            self._remove(now)
        elif link.kind and link.kind != now.kind:
            text = f"{now.name} is a {now.kind or 'physical'} interface, not a {link.kind}: delete it first"
            raise NetlinkError(errno.EEXIST, text)
        else:
            self._change(link, now)

    def links(self) -> list[state.Link]:
        """Return all interfaces."""
        return self._read(state.Link, Narrow())

    def link(self, key: str | int) -> state.Link | None:
        """Return the interface with this name or index, or None."""

    def index(self, name: str) -> int:
        """Return the index of the interface with this name, 0 where no interface has it."""
        found = self.link(name)
        return found.index if found else 0

    def addresses(self, ifindex: int = 0) -> list[state.Address]:
        """Return all addresses of both families, of one interface or of all (0)."""
        found = self._read(state.Address, Narrow(ifindex))
        return [entry for entry in found if ifindex in (0, entry.ifindex)]

    def neighbours(self, ifindex: int) -> list[state.Neighbour]:
        """Return the permanent neighbour entries of an interface, both families."""
        return [entry for entry in self._read(state.Neighbour, Narrow(ifindex)) if entry.ifindex == ifindex]

    def fdb(self, ifindex: int) -> list[state.FdbEntry]:
        """Return the permanent entries of a VXLAN device's own forwarding table."""
        return [entry for entry in self._read(state.FdbEntry, Narrow(ifindex)) if entry.ifindex == ifindex]

    def bridge_fdb(self, bridge: int) -> list[state.BridgeFdbEntry]:
        """Return the MACs that a bridge knows, its ports' own ones included."""
        return [entry for entry in self._read(state.BridgeFdbEntry, Narrow(bridge)) if entry.master == bridge]

    def nexthops(self, protocol: int = 0, ifindex: int = 0) -> list[state.Nexthop]:
        """Return nexthop objects, of one protocol number and one device where these are not 0.

        Raises NetlinkError(EOPNOTSUPP) on a kernel without nexthop objects.
        """
        found = self._read(state.Nexthop, Narrow(ifindex, protocol))
        return [entry for entry in found if protocol in (0, entry.protocol) and ifindex in (0, entry.ifindex)]

    def nexthop(self, number: int) -> state.Nexthop | None:
        """Return the nexthop object with this id, or None."""

    def routes(
        self, protocol: int = 0, table: int = TABLE_MAIN, ifindex: int = 0, *, but: Collection[int] = ()
    ) -> list[state.Route]:
        """Return unicast routes of both families in a table, of one protocol and one device where not 0.

        Those of the protocols in `but` are left out.
        """
        found = self._read(state.Route, Narrow(ifindex, protocol, table, but))
        wanted = [entry for entry in found if entry.table == table and protocol in (0, entry.protocol)]
        return [entry for entry in wanted if entry.protocol not in but] if but else wanted

    def unreachables(self, protocol: int = 0) -> list[state.Unreachable]:
        """Return unreachable prefixes of both families in the main table, of one protocol where not 0."""
        found = self._read(state.Unreachable, Narrow(0, protocol, TABLE_MAIN))
        return [entry for entry in found if entry.table == TABLE_MAIN and protocol in (0, entry.protocol)]

    def route_get(self, dst: str, *, fib_match: bool = False) -> state.Route | None:
        """Return how the kernel would send to `dst` now (prefix `dst/32`), or None when it has no route.

        With `fib_match` the answer is the table's entry itself (its prefix, protocol, nexthop id), also where
        that is an address of the host's own or a broadcast's (of the table TABLE_LOCAL).
        """

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order and return those refused; a refused one never affects the others.

        Whoever calls it looks at the answer, at least by `require`.
        """

    def run(self, op: Op) -> None:
        """Do one operation; raises NetlinkError when the kernel refuses it."""
        require(self.apply([op]))

    def ensure(self, entry: state.Entry) -> None:
        """Make the entry, unless the kernel has it; raises NetlinkError when it refuses that."""
        require(failure for failure in self.apply([Create(entry)]) if failure.errno != errno.EEXIST)

    def close(self) -> None:
        """Close the socket; closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

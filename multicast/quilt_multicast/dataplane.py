"""The kernel's side of multicast: members of the bridge, copies of the VXLAN device, the routing table.

Copies are read back from the kernel, which keeps them over our death; the routing table is empty whenever we
start and only we can write it, so what was written is what is there. Every copy on the mesh's device belongs
to the mesh.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from quilt_crds.names import MULTICAST_TABLE
from quilt_log import log
from quilt_multicast.copies import ByMac, Copies, choose
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE, Copy, Entries, Flow, Forward, Plan
from quilt_multicast.keeper import Keeper
from quilt_multicast.mroute import OWN_TABLE, FlowCounters, MrouteError, MulticastTable, Upcall
from quilt_netlink import BridgeGroup, Create, Delete, MulticastKernel, NetlinkError, Rule

# Before the kernel's own rule (32767), after what an administrator may want to decide first.
_PRIORITY = MULTICAST_TABLE


class DataplaneError(Exception):
    """Multicast cannot be forwarded now; the text says why."""


class NotYetError(Exception):
    """A device that packets must pass is not there, or not up; the text says which."""


class MulticastDataplane:
    """One node's tables, between `bridge` and `device` (names)."""

    def __init__(
        self,
        kernel: MulticastKernel,
        bridge: str,
        device: str,
        open_table: Callable[[], MulticastTable] = MulticastTable.open,
        keeper: Keeper | None = None,
    ) -> None:
        self._kernel = kernel
        self.interfaces = {POD_SIDE: bridge, MESH_SIDE: device}
        self._open_table = open_table
        self._keeper = keeper
        self.adopted = False
        self._unread = False
        self._table: MulticastTable | None = None
        self._indexes: dict[int, int] = {}
        self.tracked = Entries()
        self._copies = Copies(kernel)

    @property
    def device_index(self) -> int:
        """Index of the VXLAN device; 0 before the first look."""
        return self._indexes.get(MESH_SIDE, 0)

    def alias(self, key: int | str) -> str | None:
        """Return the alias of the interface with this index or name; None without such an interface."""
        return self._kernel.alias(key)

    def is_interface(self, name: str, index: int) -> bool:
        """Whether a link is one of the two that packets pass."""
        return name in self.interfaces.values() or index in self._indexes.values()

    def open(self) -> int:
        """Take the routing table, a predecessor's where it was kept; MrouteError.

        Returns a descriptor that becomes readable with upcalls.
        """
        kept = self._keeper.take() if self._keeper else None
        self._table = self._open_table() if kept is None else MulticastTable.adopt(kept)
        self.adopted = self._unread = kept is not None
        log.info("multicast_table_taken", table=self._table.table, kept=self.adopted)
        return self._table.fileno()

    def close(self) -> None:
        """Give the routing table up, which empties it; copies stay."""
        if self._table is not None:
            self._table.close()
            self._table = None
        self._indexes = {}
        self.tracked = Entries()

    def look(self) -> set[tuple[int, str]]:
        """Read everything; return the members (port, group). NotYetError where a device is missing."""
        try:
            for vif, name in self.interfaces.items():
                self._attach(vif, name)
            # Twice: a bridge's dump of more than 32 KB leaves out a member where another is removed
            # meanwhile, and does not report that. For one that was removed between the two there is a
            # notification.
            entries = {*self._kernel.groups(), *(last := self._kernel.groups())}
            copied = self._copies.read(self.device_index, last)
            flows = self._read_flows() if self._unread else {}
        except (NetlinkError, MrouteError) as error:
            raise DataplaneError(str(error)) from error
        if self._unread:
            self.tracked.flows, self._unread = flows, False
        self.tracked.copies = copied
        return {
            (item.port, item.group) for item in entries if isinstance(item, BridgeGroup) and self.counts(item)
        }

    def key(self, group: str) -> str:
        """What a group's copies are known by."""
        return self._copies.key(group)

    def about(self, groups: set[str], known: Iterable[str]) -> tuple[set[str], Entries]:
        """Return these groups with those of `known` that share copies, and what is tracked of them.

        Looks at all that is tracked.
        """
        groups = set(self._copies.alike(groups, known))
        keys = set(map(self.key, groups))
        copies = {copy for copy in self.tracked.copies if copy[0] in keys}
        flows = {flow: value for flow, value in self.tracked.flows.items() if flow[1] in groups}
        return groups, Entries(copies, flows)

    def keep(self) -> None:
        """Have the table kept: streams then go on while no agent is there."""
        if self._keeper and self._table and self._table.table == OWN_TABLE:
            self._keeper.keep(self._table.fileno())

    def counts(self, member: BridgeGroup) -> bool:
        """Whether an entry of our bridge is a pod's membership: not the host's own, not one source's part."""
        bridge = self._indexes.get(POD_SIDE)
        return member.bridge == bridge != member.port and not member.source

    def write(self, plan: Plan) -> list[str]:
        """Carry out a plan in its order; return what was refused, as sentences."""
        refused = self._change_copies(plan.new_copies, add=True)
        unmade = {key for key, _ in plan.new_copies} if refused else set()
        for flow, forward in plan.flows:
            if forward and MESH_SIDE in forward.oifs and self.key(flow[1]) in unmade:
                continue
            refused += self._write_flow(flow, forward)
        return refused + self._change_copies(plan.stale_copies, add=False)

    def upcalls(self) -> list[Upcall]:
        """Return what the kernel asks."""
        return self._table.upcalls() if self._table else []

    def counters(self) -> list[FlowCounters]:
        """Read what flows have forwarded."""
        table = self._table
        found = [table.counters(*flow) for flow in self.tracked.flows] if table else []
        return [counted for counted in found if counted]

    def sweep(self) -> None:
        """Remove everything that outlives this process: copies, and rules to our table."""
        link = self._kernel.link(self.interfaces[MESH_SIDE])
        if link is not None:
            held = self._kernel.groups()
            for way in (Copies(self._kernel), ByMac(self._kernel)):
                entries = sorted(way.read(link.index, held))
                way.remove(link.index, entries)
                if entries:
                    log.info("multicast_swept", copies=len(entries))
        try:
            for rule in self._kernel.multicast_rules():
                if rule.table == OWN_TABLE:
                    self._kernel.run(Delete(rule))
        except NetlinkError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise

    def _attach(self, vif: int, name: str) -> None:
        link = self._kernel.link(name)
        if link is None or not link.up:
            raise NotYetError(f"Interface {name} is not {'up' if link else 'there'} yet.")
        table = self._table
        if table is None:
            raise DataplaneError("The multicast routing table is not open.")
        if self._indexes.get(vif) != link.index:
            if vif in self._indexes or not self.adopted:
                table.remove_interface(vif)
            table.add_interface(vif, link.index)
            self._indexes[vif] = link.index
            if vif == MESH_SIDE:
                self._copies = choose(self._kernel, link.index)
        rule = Rule(OWN_TABLE, _PRIORITY, interface=name)
        if table.table == OWN_TABLE and rule not in self._kernel.multicast_rules():
            self._kernel.run(Create(rule))

    def _read_flows(self) -> dict[Flow, Forward]:
        """Return what a predecessor wrote; an incoming interface that the mesh no longer has is -1."""
        vifs = {index: vif for vif, index in self._indexes.items()}
        return {
            (route.source, route.group): Forward(
                vifs.get(route.iif, -1), frozenset(vifs[oif] for oif in route.oifs if oif in vifs)
            )
            for route in self._kernel.multicast_routes(OWN_TABLE)
        }

    def _change_copies(self, copies: tuple[Copy, ...], *, add: bool) -> list[str]:
        refused = (self._copies.add if add else self._copies.remove)(self.device_index, copies)
        held = self.tracked.copies
        (held.update if add else held.difference_update)(set(copies) - refused.keys())
        return [f"Copies of {key} to {host}: {why}." for (key, host), why in refused.items()]

    def _write_flow(self, flow: Flow, forward: Forward | None) -> list[str]:
        if self._table is None:
            return []
        try:
            if forward is None:
                self._table.remove(*flow)
                self.tracked.flows.pop(flow, None)
            else:
                self._table.put(*flow, forward.iif, forward.oifs)
                self.tracked.flows[flow] = forward
        except MrouteError as error:
            return [f"Flow from {flow[0]} to {flow[1]}: {error}."]
        return []

"""The multicast dataplane as data: desired, tracked and observed state share these types."""

from __future__ import annotations

from dataclasses import dataclass, field

POD_SIDE = 0
MESH_SIDE = 1
"""Interfaces of the multicast routing table: the bridge with the pods, and the VXLAN device."""

Flow = tuple[str, str]
"""(source, group)."""
Copy = tuple[str, str]
"""(key of a group, host address): packets of the group are sent to that node, too."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Packets of a flow come in by `iif` and leave by `oifs`; by none: they are dropped."""

    iif: int
    oifs: frozenset[int] = frozenset()


@dataclass(slots=True)
class Entries:
    """Copies that the VXLAN device makes, and entries of the multicast routing table."""

    copies: set[Copy] = field(default_factory=set)
    flows: dict[Flow, Forward] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order of the fields: a flow is only sent to the mesh once its copies are made.

    None in place of what becomes of a flow: its entry is removed; these are the last.
    """

    new_copies: tuple[Copy, ...] = ()
    flows: tuple[tuple[Flow, Forward | None], ...] = ()
    stale_copies: tuple[Copy, ...] = ()

    def growing(self, actual: Entries) -> Plan:
        """Return the part that ends nothing that is to continue."""
        flows = []
        for flow, forward in self.flows:
            held = actual.flows.get(flow)
            if forward and held and held.iif == forward.iif:
                forward = Forward(forward.iif, forward.oifs | held.oifs)
            if forward not in (None, held):
                flows.append((flow, forward))
        return Plan(self.new_copies, tuple(flows))


def make_plan(desired: Entries, actual: Entries) -> Plan:
    """Return what makes `actual` like `desired`; both are about the same groups."""
    changed = [item for item in desired.flows.items() if actual.flows.get(item[0]) != item[1]]
    stale = [(flow, None) for flow in actual.flows if flow not in desired.flows]
    return Plan(
        tuple(sorted(desired.copies - actual.copies)),
        (*changed, *stale),
        tuple(sorted(actual.copies - desired.copies)),
    )

"""A plan in parts is the same plan: nothing lost or twice, and no route ahead of what it rests on."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from quilt_nodeagent.core.overlay import Entry, Hop, Kind, Tables, Vxlan
from quilt_nodeagent.core.plan import Hops, Plan, parts, reachable

VXLAN = Vxlan()
STALE: tuple[Entry, ...] = (
    ("fdb", "02:00:00:00:01:00", "198.18.0.9"),
    ("neighbour", "10.43.0.0", "02:00:00:00:01:00"),
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, Tables]:
    """Plans of peers whose entries are new, moved, known already, or missing."""
    kinds = draw(st.lists(st.sampled_from(["new", "moved", "known", "missing"]), max_size=12))
    actual = Tables()
    entries: dict[str, list[tuple[str, str]]] = {"new": [], "moved": [], "known": [], "missing": []}
    fdb, routes = [], []
    for number, kind in enumerate(kinds):
        # Every third peer is a second subnet of the node before it, under the same MAC.
        gateway, mac = f"10.42.{number}.0", f"02:00:00:00:00:{number - (number % 3 == 2):02x}"
        entries[kind].append((gateway, mac))
        if kind != "missing" and (mac, "198.18.0.1") not in fdb:
            fdb.append((mac, "198.18.0.1"))
        routes.append((f"{gateway}/24", Hop(gateway, "vxlan100")))
    actual.neighbours.observe_all(dict(entries["known"]))
    stale = draw(st.booleans())
    plan = Plan(
        before=(
            *(("neighbour", *entry) for entry in entries["new"]),
            *(("fdb", *entry) for entry in fdb),
            *(("neighbour", *entry) for entry in entries["moved"]),
        ),
        routes=tuple(routes),
        stale_routes=("10.43.0.0/24",) if stale else (),
        after=STALE if stale else (),
    )
    return plan, actual


@given(plans(), st.integers(1, 5))
def test_parts_make_up_the_plan(made: tuple[Plan, Tables], size: int) -> None:
    plan, actual = made
    cut = list(parts(plan, actual, VXLAN, size))
    for name in ("unreachable", "stale_unreachable", "routes", "stale_routes", "after"):
        assert tuple(item for part in cut for item in getattr(part, name)) == getattr(plan, name), name
    for kind in VXLAN.kinds:
        assert [e for part in cut for e in part.before if e[0] == kind] == of(plan, kind)
    if not actual.neighbours.empty:
        assert cut == [plan]
        return
    for kind in (None, *VXLAN.kinds):
        sizes = [len(of(part, kind)) if kind else len(part.routes) for part in cut]
        most = [size, *(size * min(2 * 3**at, 6) for at in range(len(sizes)))]
        assert all(found <= allowed for found, allowed in zip(sizes, most, strict=False)), sizes
    for part in cut[:-1]:
        assert (part.stale_routes, part.after) == ((), ())


def of(plan: Plan, kind: Kind) -> list[Entry]:
    return [entry for entry in plan.before if entry[0] == kind]


@given(plans(), st.integers(1, 5), st.randoms())
def test_no_route_is_ahead_of_its_entries_and_none_is_forgotten(
    made: tuple[Plan, Tables], size: int, random: Random
) -> None:
    plan, actual = made
    shuffled = of(plan, "fdb")
    random.shuffle(shuffled)
    others = [entry for entry in plan.before if entry[0] != "fdb"]
    plan = replace(plan, before=(*others, *shuffled))
    written: list[Hops] = []
    waiting: list[Hops] = []
    for part in parts(plan, actual, VXLAN, size):
        for kind, key, value in part.before:
            actual.of[kind].observe(key, value)
        ready, waiting = reachable((*waiting, *part.routes), actual, VXLAN, "vxlan100")
        for _, hop in ready:
            assert actual.neighbours.actual[hop.gateway] in actual.fdb.actual
        written += ready
    assert sorted((*written, *waiting), key=repr) == sorted(plan.routes, key=repr)
    neighbours, fdb = actual.neighbours.actual, actual.fdb.actual
    assert all(neighbours.get(hop.gateway) not in fdb for _, hop in waiting)

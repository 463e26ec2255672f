"""What nodes conclude about their paths, from whatever becomes of their datagrams."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quilt_probes.core.book import worse
from quilt_probes.core.link import FAILING, INTERVAL, LOST, OK, UNKNOWN
from tests.support.probe_world import World

THREE = ("node-1", "node-2", "node-3")
# From the last datagram that arrived: what must be lost, and two ticks at either end.
NAMED = (LOST + 2) * INTERVAL + 2


def cut(*pairs: tuple[str, str], full_only: bool = False):
    def fate(source: str, target: str, full: bool) -> float | None:
        return None if (source, target) in pairs and (full or not full_only) else 0.0002

    return fate


def test_all_is_well_where_all_arrives() -> None:
    world = World(THREE)
    world.run(60)
    assert not world.faults()
    for book in world.books.values():
        assert {worse(link) for link in book.links.values()} == {OK}
        for link in book.links.values():
            assert link.loss_in == link.loss_out == 0
            assert link.round_trip == pytest.approx(0.0004, abs=0.0002)


def test_one_direction_that_fails_is_named_by_both_ends_and_forgotten_after_the_repair() -> None:
    world = World(THREE)
    world.run(30)
    world.fate = cut(("node-1", "node-2"))
    world.run(NAMED)
    assert ("node-1", "node-1", "node-2") in world.faults()
    world.run(30 - NAMED)
    assert world.faults() == {("node-1", "node-1", "node-2"), ("node-2", "node-1", "node-2")}
    world.run(120)
    assert world.faults() == {("node-1", "node-1", "node-2"), ("node-2", "node-1", "node-2")}
    world.fate = cut()
    world.run(NAMED)
    assert not world.faults()


def test_a_path_cut_both_ways_is_named_from_both_ends() -> None:
    world = World(THREE, cut(("node-1", "node-2"), ("node-2", "node-1")))
    world.run(40)
    assert world.faults() == {("node-1", "node-2", "node-1"), ("node-2", "node-1", "node-2")}


def test_a_direction_that_never_worked_is_named() -> None:
    world = World(THREE, cut(("node-1", "node-2")))
    world.run(NAMED)
    assert ("node-1", "node-1", "node-2") in world.faults()


def test_without_proof_of_life_silence_is_no_fault() -> None:
    world = World(THREE, cut(("node-1", "node-2"), ("node-2", "node-1")), proven=False)
    world.run(300)
    assert not world.faults()
    assert world.books["node-1"].links["node-2"].inward == UNKNOWN


@pytest.mark.parametrize("seconds", [3, 11, 45, 400])
def test_an_agent_that_stops_and_starts_again_is_no_fault(seconds: int) -> None:
    world = World(THREE)
    world.run(30)
    world.off.add("node-2")
    for _ in range(seconds):
        world.run(1)
        assert not world.faults()
    expected = UNKNOWN if seconds > LOST * INTERVAL else OK
    assert worse(world.books["node-1"].links["node-2"]) == expected
    world.start("node-2")
    for _ in range(60):
        world.run(1)
        assert not world.faults()
    assert worse(world.books["node-1"].links["node-2"]) == OK


@pytest.mark.parametrize("seconds", [2, 5, 9, 12, 60])
def test_an_agent_that_hangs_is_no_fault_and_blames_nobody_when_it_continues(seconds: int) -> None:
    world = World(THREE)
    world.run(30)
    world.hung.add("node-2")
    world.run(seconds)
    assert not world.faults()
    world.hung.discard("node-2")
    for _ in range(60):
        world.run(1)
        assert not world.faults()


def test_a_node_that_left_the_mesh_is_forgotten_with_its_faults() -> None:
    world = World(THREE, cut(("node-1", "node-2")))
    world.run(30)
    book = world.books["node-1"]
    assert book.faults()
    book.set_peers({"node-3": ["10.42.3.0"]}, 0, world.now)
    assert not book.faults()
    assert set(book.links) == {"node-3"}


def test_full_size_alone_lost_is_a_narrow_path_and_over_with_the_next_that_arrives() -> None:
    world = World(THREE, cut(("node-1", "node-2"), full_only=True))
    world.run(70)
    faults = world.books["node-1"].faults()
    assert [(fault.source, fault.target, fault.narrow) for fault in faults] == [("node-1", "node-2", True)]
    assert not world.books["node-2"].faults()
    world.fate = cut()
    world.run(30)
    assert not world.faults()


def test_loss_is_a_share_and_no_fault_while_enough_arrives() -> None:
    world = World(THREE)
    turn = iter(range(10**6))
    world.fate = lambda source, target, full: (
        None if (source, target) == ("node-1", "node-2") and not full and next(turn) % 3 == 0 else 0.0002
    )
    world.run(120)
    assert not world.faults()
    assert world.books["node-1"].links["node-2"].loss_out == pytest.approx(1 / 3, abs=0.05)
    assert world.books["node-2"].links["node-1"].loss_in == pytest.approx(1 / 3, abs=0.05)


class Luck:
    """Loses and delays by chance, and remembers how many of one direction it lost in a row at most."""

    def __init__(self, world: World, share: float, delay: float) -> None:
        self.random, self.share, self.delay = world.random, share, delay
        self.rows: dict[tuple[str, str], int] = {}
        self.longest = 0

    def __call__(self, source: str, target: str, full: bool) -> float | None:
        if self.random.random() < self.share:
            if not full:
                self.rows[source, target] = self.rows.get((source, target), 0) + 1
                self.longest = max(self.longest, self.rows[source, target])
            return None
        if not full:
            self.rows[source, target] = 0
        return self.random.uniform(0, self.delay)


@settings(max_examples=40, deadline=None)
@example(seed=521, share=0.109375, delay=3.75)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 0.6), delay=st.floats(0.0001, 5.0))
def test_no_direction_fails_that_lost_few_in_a_row(seed: int, share: float, delay: float) -> None:
    world = World(THREE, seed=seed)
    luck = world.fate = Luck(world, share, delay)
    for _ in range(120):
        world.run(1)
        # What is late counts as lost until it is there, and until the peer's probe that tells of it is here.
        if luck.longest + 2 * delay / INTERVAL < LOST - 1:
            assert not {fault for fault in world.faults() if not _narrow(world, fault)}


def _narrow(world: World, fault: tuple[str, str, str]) -> bool:
    seen_by, source, target = fault
    return any(
        held.narrow
        for held in world.books[seen_by].faults()
        if (held.source, held.target) == (source, target)
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0, 0.1),
    delay=st.floats(0.0001, 1.0),
    which=st.sets(st.sampled_from([(a, b) for a in THREE for b in THREE if a != b]), min_size=1, max_size=6),
)
def test_every_cut_is_named_in_its_direction_and_over_when_repaired(
    seed: int, share: float, delay: float, which: set[tuple[str, str]]
) -> None:
    world = World(THREE, seed=seed)
    luck = Luck(world, share, delay)
    world.fate = luck
    world.run(30)
    world.fate = lambda source, target, full: (
        None if (source, target) in which else luck(source, target, full)
    )
    world.run(30)
    named = {(source, target) for _, source, target in world.faults()}
    assert named >= which
    world.fate = cut()
    world.run(28)
    assert not world.faults()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_states_are_what_they_may_be(seed: int) -> None:
    world = World(THREE, seed=seed)
    world.fate = Luck(world, 0.5, 6.0)
    for _ in range(40):
        world.run(2)
        for book in world.books.values():
            for link in book.links.values():
                assert {link.inward, link.outward} <= {OK, FAILING, UNKNOWN}
                assert 0 <= link.loss_in <= 1
                assert 0 <= link.loss_out <= 1
                assert all(0 <= seconds < 30 for seconds in link.times)

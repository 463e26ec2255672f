"""The tracker of one table: whatever comes in whichever order, it says what a plain comparison would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quilt_delta import Delta, Tracked

keys = st.sampled_from("abcd")
values = st.integers(1, 3)
tables = st.dictionaries(keys, values)


class AgainstTwoDictionaries(RuleBasedStateMachine):
    """A tracker beside the two tables that it represents, both held in full."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked: Tracked[str, int] = Tracked()
        self.desired: dict[str, int] = {}
        self.actual: dict[str, int] = {}

    @rule(key=keys, value=st.none() | values)
    def want(self, key: str, value: int | None) -> None:
        self.tracked.want(key, value)
        _put(self.desired, key, value)

    @rule(table=tables)
    def want_all(self, table: dict[str, int]) -> None:
        self.tracked.want_all(table)
        self.desired = dict(table)

    @rule(key=keys, value=st.none() | values)
    def observe(self, key: str, value: int | None) -> None:
        self.tracked.observe(key, value)
        _put(self.actual, key, value)

    @rule(table=tables)
    def observe_all(self, table: dict[str, int]) -> None:
        self.tracked.observe_all(table)
        self.actual = dict(table)

    @rule(key=keys, value=st.none() | values, later=st.none() | values)
    def write_and_change_ones_mind_before_the_answer(
        self, key: str, value: int | None, later: int | None
    ) -> None:
        self.tracked.send([key])
        self.want(key, later)
        self.tracked.confirm([(key, value)])
        _put(self.actual, key, value)

    @rule(key=keys, value=st.none() | values, seen=st.none() | values)
    def write_and_observe_something_else_before_the_answer(
        self, key: str, value: int | None, seen: int | None
    ) -> None:
        self.tracked.send([key])
        self.observe(key, seen)
        self.tracked.confirm([(key, value)])

    @rule(key=keys, value=st.none() | values)
    def write_in_vain(self, key: str, value: int | None) -> None:
        self.tracked.send([key])
        self.tracked.fail([key])
        self.tracked.confirm([(key, value)])

    @invariant()
    def agrees(self) -> None:
        assert self.tracked.desired == self.desired
        assert self.tracked.actual == self.actual
        assert self.tracked.empty == (not self.actual)
        assert all(self.tracked.held(key) == self.actual.get(key) for key in "abcd")
        wanted, held = self.desired, self.actual
        put = {key: value for key, value in wanted.items() if held.get(key) != value}
        drop = {key: value for key, value in held.items() if key not in wanted}
        assert self.tracked.pending == Delta(put, drop)
        assert self.tracked.differing == put.keys() | drop.keys()


TestAgainstTwoDictionaries = AgainstTwoDictionaries.TestCase


@given(desired=tables, actual=tables)
def test_what_is_pending_reaches_desired_and_then_nothing_is(
    desired: dict[str, int], actual: dict[str, int]
) -> None:
    tracked: Tracked[str, int] = Tracked()
    tracked.want_all(desired)
    tracked.observe_all(actual)
    delta = tracked.pending
    written: list[tuple[str, int | None]] = [*delta.put.items(), *((key, None) for key in delta.drop)]
    tracked.send([key for key, _ in written])
    tracked.confirm(written)
    assert tracked.actual == desired
    assert tracked.pending == Delta()


@given(table=tables, key=keys, value=values)
def test_churn_that_ends_where_it_began_leaves_nothing_to_write(
    table: dict[str, int], key: str, value: int
) -> None:
    tracked: Tracked[str, int] = Tracked()
    tracked.want_all(table)
    tracked.observe_all(table)
    tracked.want(key, value)
    tracked.want(key, table.get(key))
    assert tracked.pending == Delta()


def test_an_entry_that_is_as_desired_is_held_once() -> None:
    """Thousands of equal texts are in memory once, whatever read them."""
    wanted, read = "".join(["10.42.", "1.0"]), "".join(["10.42.", "1.0"])
    tracked: Tracked[str, str] = Tracked()
    tracked.want("key", wanted)
    for observe in (lambda: tracked.observe("key", read), lambda: tracked.observe_all({"key": read})):
        observe()
        assert tracked.held("key") is wanted


def _put(table: dict[str, int], key: str, value: int | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value

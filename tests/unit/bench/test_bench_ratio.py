"""How ratios of turns become one figure, and when a target of it is met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ratio import Ratio, interval, ratio
from bench.result import Line
from bench.show import ratio as shown
from bench.show import target

VALUES = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)


@given(VALUES)
def test_the_interval_holds_the_median_and_no_more_than_there_was(values: list[float]) -> None:
    found = ratio(values, [1.0] * len(values))
    assert min(values) <= found.low <= found.middle <= found.high <= max(values)


@given(VALUES)
def test_the_interval_is_of_the_values_whatever_their_order(values: list[float]) -> None:
    low, high = interval(values)
    assert interval(values[::-1]) == (low, high)
    assert {low, high} <= set(values)


@given(VALUES, st.floats(0.1, 10))
def test_the_interval_grows_with_the_values(values: list[float], times: float) -> None:
    low, high = interval(values)
    assert interval([value * times for value in values]) == (low * times, high * times)


@pytest.mark.parametrize(("count", "left_out"), [(5, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5)])
def test_as_many_are_left_out_on_each_side_as_tables_of_the_sign_test_say(count: int, left_out: int) -> None:
    values = [float(number) for number in range(count)]
    assert interval(values) == (left_out, count - 1 - left_out)


def test_one_value_that_is_far_off_moves_nothing() -> None:
    assert ratio([1.0] * 14 + [90.0], [1.0] * 15) == Ratio(1.0, 1.0, 1.0)


def test_turns_are_compared_one_by_one() -> None:
    assert ratio([1, 2, 4], [2, 4, 8]) == Ratio(0.5, 0.5, 0.5)


def _line(better: str, low: float, high: float) -> Line:
    turns = Ratio((low + high) / 2, low, high)
    limits = {"target": 1.0, "target_is_ratio": True, "turns": turns, "other": 1.0}
    return Line(what="", value=1.0, unit="us", against="it", better=better, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "low", "high", "met"),
    [
        ("more", 0.9, 1.0, True),
        ("more", 0.9, 0.99, False),
        ("more", 1.1, 1.2, True),
        ("less", 1.0, 1.2, True),
        ("less", 1.01, 1.2, False),
        ("less", 0.5, 0.6, True),
    ],
)
def test_a_target_is_met_when_the_interval_reaches_it(
    better: str, low: float, high: float, met: bool
) -> None:
    assert _line(better, low, high).met is met


def test_the_table_says_the_interval_and_which_way_a_limit_is() -> None:
    assert (shown(_line("more", 0.9, 1.0)), target(_line("more", 0.9, 1.0))) == (
        "0.95 (0.90 to 1.00)",
        "at least 1 x",
    )
    assert target(_line("less", 0.9, 1.0)) == "1 x"
    plain = Line(what="", value=2.0, unit="us", against="it", other=4.0, target=1.0, target_is_ratio=True)
    assert (shown(plain), target(plain), plain.met) == ("0.50", "1 x", True)

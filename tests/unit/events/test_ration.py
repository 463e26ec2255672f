"""How few Events a node and a mesh write, whatever happens and however often; and none is miscounted."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quilt_events.news import News, Topic
from quilt_events.ration import GATHER, MOST, PLACES, SLOT, WAITING, Draft, Ration

TOPICS = (
    Topic("DriftRepaired", "Repaired"),
    Topic("PathFailing", "Lost", about="node-4"),
    Topic("PathFailing", "Lost", about="node-5"),
)
ROUTE, FDB = (News(TOPICS[0], kind) for kind in ("route", "fdb"))
# Seconds since the last one, which topic, which kind, how often.
HAPPENINGS = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0.0, 2.0), st.floats(0.0, 2.0 * SLOT)),
        st.sampled_from(TOPICS),
        st.sampled_from("abcdefgh"),
        st.integers(1, 5),
    ),
    max_size=60,
)


def parts(draft: Draft) -> dict[str, int]:
    """The kinds of an Event with how often they happened, as people read it."""
    listed = draft.note.removeprefix(f"{draft.topic.head}: ").removesuffix(".").split(", ")
    found = (re.fullmatch(r"(\w+)(?: \(x(\d+)\))?", part) for part in listed)
    return {match[1]: int(match[2] or 1) for match in found if match}


def run(happenings: list[tuple[float, Topic, str, int]]) -> list[tuple[float, Draft]]:
    """All that is written, each as soon as it may be, until nothing waits any more."""
    ration, now, written = Ration("n1"), 0.0, []
    for pause, topic, kind, count in happenings:
        written += drain(ration, now + pause)
        now += pause
        ration.note(News(topic, kind), now, count)
    return written + drain(ration, now + 1_000.0 * SLOT)


def drain(ration: Ration, until: float) -> list[tuple[float, Draft]]:
    """What is written up to a moment; what is due is written, and nothing before it is."""
    written = []
    while (due := ration.due()) <= until:
        assert not ration.take(due - 0.001, due - 0.001, 3)
        taken = ration.take(due, due, 3)
        assert taken
        written += [(due, draft) for draft in taken]
    return written


@given(HAPPENINGS)
def test_of_a_kind_one_in_ten_minutes_and_few_of_a_reason(
    happenings: list[tuple[float, Topic, str, int]],
) -> None:
    written = run(happenings)
    of_a_kind: dict[tuple[Topic, str], list[float]] = {}
    of_a_reason: dict[str, list[float]] = {}
    for at, draft in written:
        of_a_reason.setdefault(draft.topic.reason, []).append(at)
        for kind in parts(draft):
            of_a_kind.setdefault((draft.topic, kind), []).append(at)
    assert all(later >= former + SLOT for times in of_a_kind.values() for former, later in pairwise(times))
    for times in of_a_reason.values():
        assert all(later >= former + SLOT for former, later in zip(times, times[MOST:], strict=False))


@given(HAPPENINGS)
def test_what_is_not_reported_at_once_the_next_event_counts(
    happenings: list[tuple[float, Topic, str, int]],
) -> None:
    wanted, found = Counter[tuple[Topic, str]](), Counter[tuple[Topic, str]]()
    for _, topic, kind, count in happenings:
        wanted[topic, kind] += count
    for _, draft in run(happenings):
        found.update({(draft.topic, kind): count for kind, count in parts(draft).items()})
    assert found == wanted


def test_a_burst_is_one_event_that_counts_and_another_kind_is_reported_soon() -> None:
    ration = Ration("n1")
    for step in range(250):
        ration.note(ROUTE, step * 0.001)
    ration.note(FDB, 0.5, 2)
    assert ration.due() == GATHER
    [draft] = ration.take(GATHER, 6_000.0, 3)
    assert draft == Draft("n1.driftrepaired.a.0", TOPICS[0], "Repaired: route (x250), fdb (x2).")
    ration.note(ROUTE, 60.0)
    assert ration.due() == GATHER + SLOT
    ration.note(News(TOPICS[0], "link"), 70.0)
    [draft] = ration.take(70.0 + GATHER, 6_070.0, 3)
    assert (draft.name, draft.note) == ("n1.driftrepaired.a.1", "Repaired: link.")
    [draft] = ration.take(GATHER + SLOT, 6_601.0, 3)
    assert (draft.name, draft.note) == ("n1.driftrepaired.b.0", "Repaired: route.")


def test_of_one_kind_the_last_text_is_written() -> None:
    ration = Ration("n1")
    for pod in ("a", "b"):
        ration.note(News(TOPICS[0], f"no address for {pod}", "Exhausted"), 0.0)
    assert ration.take(GATHER, 0.0, 3)[0].note == "Repaired: no address for b (x2)."


def test_what_waits_is_bounded_for_each_reason() -> None:
    ration = Ration("n1")
    for number in range(100):
        ration.note(News(Topic("PathFailing", "Lost", about=f"n{number}"), "x"), 0.0)
        ration.note(News(TOPICS[0], f"kind{number}"), 0.0)
    taken = ration.take(GATHER, 0.0, 3)
    assert len(taken) == MOST + 1
    assert [len(parts(draft)) for draft in taken if draft.topic == TOPICS[0]] == [WAITING]


def names(nodes: int, news: News) -> set[str]:
    """The names that all nodes of a mesh choose for what happens to all of them again and again."""
    found = set()
    for number in range(nodes):
        ration = Ration(f"node-{number}")
        for kind in range(2 * MOST):
            ration.note(News(news.topic, f"{kind}"), float(kind * 2))
            found |= {draft.name for draft in ration.take(float(kind * 2 + 1), 0.0, nodes)}
    return found


def test_however_many_nodes_have_the_same_news_few_events_are_written() -> None:
    assert len(names(3, ROUTE)) == 3 * MOST
    assert len(names(1_000, ROUTE)) == PLACES * MOST
    assert len(names(1_000, News(TOPICS[1], "x"))) == 1


def test_an_agent_that_starts_again_and_again_chooses_the_same_names() -> None:
    found = set()
    for start in range(100):
        ration = Ration("n1")
        ration.note(ROUTE, 0.0)
        found |= {draft.name for draft in ration.take(GATHER, start * 5.0, 3)}
    assert found == {"n1.driftrepaired.0.0"}

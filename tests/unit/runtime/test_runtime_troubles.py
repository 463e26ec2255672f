"""Which refusals of ADD are worth a word: those of a pod that is refused again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quilt_policy.program import PodName
from quilt_runtime.troubles import REMEMBERED, STRIKES, Refusals, Troubles

ONE, OTHER = PodName("shop", "web-1", "a"), PodName("shop", "web-2", "b")


def refuse(troubles: Troubles, pod: PodName, times: int, kind: str = "ExhaustedError") -> None:
    for _ in range(times):
        troubles.refused(pod, kind, f"no address for {pod.name}")


def test_what_passes_by_itself_is_not_reported() -> None:
    troubles = Troubles()
    for _ in range(5):
        refuse(troubles, ONE, STRIKES - 1)
        troubles.connected(ONE)
        refuse(troubles, OTHER, 1)
        troubles.connected(OTHER)
    assert not troubles.refusals()


def test_kinds_are_counted_apart_with_their_last_pod() -> None:
    troubles = Troubles()
    refuse(troubles, ONE, STRIKES + 2)
    refuse(troubles, OTHER, STRIKES)
    refuse(troubles, ONE, 1, "NetlinkError")
    assert troubles.refusals() == [
        Refusals("ExhaustedError", 4, OTHER, "no address for web-2"),
        Refusals("NetlinkError", 1, ONE, "no address for web-1"),
    ]


def test_the_pod_of_the_same_name_that_replaces_another_begins_again_and_memory_is_bounded() -> None:
    troubles = Troubles()
    for number in range(3 * REMEMBERED):
        refuse(troubles, PodName("shop", "web-1", f"{number}"), 1)
    assert not troubles.refusals()
    assert len(troubles._strikes) == REMEMBERED


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.booleans())))
def test_each_refusal_from_the_third_in_a_row_on_counts_once(ends: list[tuple[PodName, bool]]) -> None:
    troubles, row, wanted = Troubles(), dict.fromkeys((ONE, OTHER), 0), 0
    for pod, succeeds in ends:
        if succeeds:
            troubles.connected(pod)
            row[pod] = 0
        else:
            troubles.refused(pod, "ExhaustedError", "")
            row[pod] += 1
            wanted += row[pod] >= STRIKES
    assert sum(one.count for one in troubles.refusals()) == wanted

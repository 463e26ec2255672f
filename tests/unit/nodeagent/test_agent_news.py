"""What the agent has Events report of what its runtime did."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_events.news import News
from quilt_nodeagent.executor import link
from quilt_nodeagent.news import RuntimeNews
from quilt_proto.node_pb2 import AddRefusals, GetStatusResponse
from tests.support.agent_doubles import eventually
from tests.support.agent_scene import fake_rig, mesh

KINDS = ("bridge", "table")


class Followed:
    """What is new in reports of a runtime, as they come."""

    def __init__(self) -> None:
        self.reported: dict[str, int] = {}
        self._news = RuntimeNews(self._tell)

    def _tell(self, news: News, count: int) -> None:
        self.reported[news.text] = self.reported.get(news.text, 0) + count

    def report(self, **repairs: int) -> None:
        self._news.follow(GetStatusResponse(repairs=repairs))


@given(st.lists(st.dictionaries(st.sampled_from(KINDS), st.integers(1, 9)), max_size=20))
def test_all_that_comes_after_the_first_report_is_new_once(steps: list[dict[str, int]]) -> None:
    followed, held = Followed(), dict.fromkeys(KINDS, 7)
    followed.report(**held)
    for step in steps:
        for kind, more in step.items():
            held[kind] += more
        followed.report(**held)
        followed.report(**held)
    assert followed.reported == {kind: number - 7 for kind, number in held.items() if number > 7}


def test_what_a_runtime_did_before_the_agent_knew_it_is_old() -> None:
    followed = Followed()
    followed.report(table=3)
    assert not followed.reported


def test_a_runtime_that_was_started_again_counts_from_the_start() -> None:
    followed = Followed()
    followed.report(table=3)
    followed.report()
    followed.report(table=2)
    followed.report(table=1)
    assert followed.reported == {"table": 3}


async def test_what_the_runtime_repaired_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_POLL", 0.05)
    async with fake_rig(tmp_path) as rig:
        await mesh(rig, 2)
        rig.runtime.repairs["table"] = 3
        await eventually(lambda: rig.events("DriftRepaired"))
        head = "Others changed or removed what the mesh needs on this node; repaired"
        assert rig.events("DriftRepaired") == [f"{head}: table (x3)."]


async def test_pods_that_get_no_network_are_an_event_with_the_last_one_of_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_POLL", 0.05)
    full = "No free address in 10.42.1.0/24: 253 in use; remove pods from this node"
    async with fake_rig(tmp_path) as rig:
        await mesh(rig, 2)
        rig.runtime.refusals = [
            AddRefusals(kind="ExhaustedError", count=17, pod="shop/web-1", reason=full),
            AddRefusals(kind="NetlinkError", count=1, pod="shop/web-2", reason="the kernel refused it."),
        ]
        await eventually(lambda: rig.events("PodsNotConnected"))
        head = "Pods get no network, CNI ADD is refused again and again"
        texts = f"shop/web-1: {full} (x17), shop/web-2: the kernel refused it"
        assert rig.events("PodsNotConnected") == [f"{head}: {texts}."]

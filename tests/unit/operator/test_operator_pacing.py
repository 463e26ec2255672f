"""When a new node's status is written: soon when it is alone, after others' subnets when thousands join."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from quilt_operator import pacing
from quilt_operator.pacing import FirstWords


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_node_that_was_not_held_never_waits() -> None:
    assert FirstWords().wait("node") == 0


def test_a_single_node_waits_a_moment_and_only_once(clock: Clock) -> None:
    words = FirstWords()
    words.hold("node")
    assert 0 < words.wait("node") <= 1
    clock.now += 1
    assert words.wait("node") == 0
    clock.now -= 1
    assert words.wait("node") == 0


def test_of_thousands_each_is_written_and_never_many_in_one_second(clock: Clock) -> None:
    words, nodes = FirstWords(), [f"node-{number}" for number in range(5000)]
    for node in nodes:
        words.hold(node)
    written = []
    for _ in range(200):
        clock.now += 1
        written.append([node for node in nodes if words.wait(node) == 0])
        nodes = [node for node in nodes if node not in set(written[-1])]
        if not nodes:
            break
    assert not nodes
    assert max(map(len, written)) <= 60
    assert len(written) <= 130


def test_nodes_that_are_gone_delay_nobody(clock: Clock) -> None:
    words = FirstWords()
    for number in range(1000):
        words.hold(f"node-{number}")
    for number in range(1000):
        words.forget(f"node-{number}")
    words.hold("another")
    assert words.wait("another") <= 1

"""ADD waits until it is known what holds for its pod, few of them and not for long; nothing else waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from quilt_policy.program import Profile
from quilt_runtime import announcements
from quilt_runtime.announcements import MOST_WAITING, Announcements, UnannouncedError
from quilt_runtime.core.ipam import Owner
from quilt_runtime.podfeed import PodFeed
from tests.support.policy_programs import pod, program

PLENTY_S = 60.0


class Switch:
    """Whether policies are enforced, and who waits."""

    def __init__(self) -> None:
        self.on = True
        self.begun = threading.Semaphore(0)
        self.feed = PodFeed(list)
        self.gate = Announcements(self._feed(), lambda: self.on)

    def _feed(self) -> PodFeed:
        waiting, begun = self.feed.waiting, self.begun

        @contextmanager
        def reported(owner: Owner, name: object) -> Iterator[None]:
            with waiting(owner, name):  # type: ignore[arg-type]
                begun.release()
                yield

        self.feed.waiting = reported  # type: ignore[method-assign]
        return self.feed


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    monkeypatch.setattr(announcements, "WAIT_S", PLENTY_S)
    return Switch()


@pytest.fixture
def wait(switch: Switch) -> Iterator[Callable[[str], Future[None]]]:
    with ThreadPoolExecutor(MOST_WAITING + 1) as pool:
        yield lambda name: pool.submit(switch.gate.wait, Owner(name, "eth0"), pod(name))


def test_a_pod_that_is_announced_does_not_wait(switch: Switch) -> None:
    switch.gate.set(program(Profile(pod("web"))))
    switch.gate.wait(Owner("c1", "eth0"), pod("web"))
    switch.gate.wait(Owner("c2", "eth0"), None)
    switch.on = False
    switch.gate.wait(Owner("c3", "eth0"), pod("other"))


@pytest.mark.parametrize("how", ["announced", "switched off"])
def test_a_pod_waits_until_it_is_known(switch: Switch, wait: Callable[[str], Future[None]], how: str) -> None:
    waiting = wait("web")
    assert switch.begun.acquire(timeout=PLENTY_S)
    switch.gate.set(program(Profile(pod("other"))))
    assert not waiting.done()
    if how == "announced":
        switch.gate.set(program(Profile(pod("web"))))
    else:
        switch.on = False
        switch.gate.set(None)
    waiting.result(PLENTY_S)


def test_no_more_than_a_few_wait(switch: Switch, wait: Callable[[str], Future[None]]) -> None:
    waiting = [wait(f"web-{number}") for number in range(MOST_WAITING)]
    for _ in waiting:
        assert switch.begun.acquire(timeout=PLENTY_S)
    with pytest.raises(UnannouncedError, match="default/late, and 4 pods wait already") as refused:
        switch.gate.wait(Owner("late", "eth0"), pod("late"))
    assert refused.value.retryable
    switch.gate.set(program(*(Profile(pod(f"web-{number}")) for number in range(MOST_WAITING))))
    for one in waiting:
        one.result(PLENTY_S)
    with pytest.raises(UnannouncedError, match="after 0 s"):
        no_longer_than(0, switch.gate)


def no_longer_than(seconds: float, gate: Announcements) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(announcements, "WAIT_S", seconds)
        gate.wait(Owner("c9", "eth0"), pod("nobody"))

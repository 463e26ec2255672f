"""A flapping link is notified at a bearable rate, and always how it is in the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from quilt_netlink import Change, Link, Neighbour
from quilt_netlink.monitor import BURST, RATE, LinkDamper

UP = Link("eth0", index=7, up=True)
DOWN = replace(UP, up=False)


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is set, not waited for."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pass_time(clock: Clock, seconds: float) -> None:
    clock.now += seconds
    for _ in range(2):
        clock.call_soon(clock.stop)
        clock.run_forever()


def test_a_few_changes_are_notified_at_once(clock: Clock) -> None:
    notified: list[Change] = []
    damper = LinkDamper(clock, notified.append)
    changes = [Change(True, link) for link in [UP, DOWN] * 5]
    for change in changes:
        damper.put(change)
    assert notified == changes
    clock.close()


def test_a_storm_is_notified_at_a_rate_and_its_end_always(clock: Clock) -> None:
    notified: list[Change] = []
    damper = LinkDamper(clock, notified.append)
    for number in range(1000):
        damper.put(Change(True, UP if number % 2 else DOWN))
        pass_time(clock, 0.01)
    damper.put(Change(True, DOWN))
    pass_time(clock, 1 / RATE)
    assert notified[-1] == Change(True, DOWN)
    assert len(notified) <= BURST + 10 * RATE * 2 + 2
    clock.close()


def test_other_entries_other_links_and_other_changes_do_not_wait(clock: Clock) -> None:
    notified: list[Change] = []
    damper = LinkDamper(clock, notified.append)
    for number in range(100):
        damper.put(Change(True, UP if number % 2 else DOWN))
    notified.clear()
    others = [
        Change(True, replace(UP, index=8)),
        Change(True, Neighbour(7, "10.42.2.0", "02:00:00:00:00:01")),
        Change(False, UP),
    ]
    for change in others:
        damper.put(change)
    assert notified == others
    pass_time(clock, 10)
    assert notified == others  # what was held back was of a link that is gone
    for mtu in range(1000, 1100):
        damper.put(Change(True, replace(UP, index=9, mtu=mtu)))
    assert len(notified) == len(others) + 100
    clock.close()

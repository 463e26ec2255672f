"""How changes of the kernel's table of policies are carried out; the kernel is a double."""

from __future__ import annotations

from queue import Queue

import pytest

from quilt_netlink.nftsets import SetChange
from quilt_runtime.core.policyjudged import FORGET
from quilt_runtime.core.policysets import Changes
from quilt_runtime.kernel import policytable
from quilt_runtime.kernel.policytable import PolicyTable

PLENTY_S = 60.0
ONE_MORE = SetChange("p_a-4", [b"\x0a\x2a\1\2"], True)


class Sets:
    """Takes transactions."""

    port = 7

    def __init__(self) -> None:
        self.done: Queue[Changes] = Queue()

    def change(self, changes: Changes) -> None:
        self.done.put(list(changes))


def test_judgements_are_forgotten_with_a_change_and_once_more_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """trap 5: a packet that was on its way meanwhile may have been remembered after the change."""
    sets = Sets()
    monkeypatch.setattr(policytable, "NftSets", lambda _: sets)
    table = PolicyTable()
    table.change([ONE_MORE])
    table.change([ONE_MORE, *FORGET])
    done = [sets.done.get(timeout=PLENTY_S) for _ in range(3)]
    assert done == [[ONE_MORE], [ONE_MORE, *FORGET], FORGET]
    assert sets.done.empty(), "what adds alone forgets nothing"

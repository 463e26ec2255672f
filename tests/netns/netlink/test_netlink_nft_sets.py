"""Sets of nftables on the real kernel: one transaction, in the words that nft itself reads."""

from __future__ import annotations

import errno
import json
from contextlib import closing
from typing import Any

import pytest

from quilt_netlink import NetlinkError
from quilt_netlink.nftsets import MOST, NftSets, SetChange

pytestmark = pytest.mark.kernel

TABLE = "table inet t { set four { type ipv4_addr; }; set six { type ipv6_addr; }; }"


@pytest.fixture
def sets(netns: Any) -> Any:
    """A namespace whose table t has two empty sets."""
    netns.run("nft", "-f", "-", stdin=TABLE)
    return netns


def members(netns: Any, name: str) -> set[str]:
    listed = json.loads(netns.run("nft", "-j", "list", "set", "inet", "t", name))
    (found,) = [item["set"] for item in listed["nftables"] if "set" in item]
    return set(found.get("elem", ()))


def change(netns: Any, *changes: SetChange) -> None:
    with closing(NftSets("t", netns.path)) as opened:
        opened.change(changes)


def test_addresses_come_and_go(sets: Any) -> None:
    change(sets, SetChange("four", ["198.18.0.2", "198.18.0.3"], True), SetChange("six", ["fd00::2"], True))
    assert (members(sets, "four"), members(sets, "six")) == ({"198.18.0.2", "198.18.0.3"}, {"fd00::2"})
    change(sets, SetChange("four", ["198.18.0.3", "198.18.0.4"], True), SetChange("six", ["fd00::2"], False))
    assert (members(sets, "four"), members(sets, "six")) == (
        {"198.18.0.2", "198.18.0.3", "198.18.0.4"},
        set(),
    )


def test_as_many_as_one_change_accepts(sets: Any) -> None:
    many = [f"fd00::{number:x}" for number in range(1, MOST + 1)]
    change(sets, SetChange("six", many, True))
    assert members(sets, "six") == set(many)
    change(sets, SetChange("six", many[1:], False))
    assert members(sets, "six") == {"fd00::1"}


@pytest.mark.parametrize(
    ("wrong", "number"),
    [
        (SetChange("four", ["198.18.0.9"], False), errno.ENOENT),
        (SetChange("five", ["198.18.0.9"], True), errno.ENOENT),
        (SetChange("four", ["fd00::1"], True), errno.EINVAL),
        (SetChange("four", ["198.18.0"], True), errno.EINVAL),
    ],
)
def test_a_refused_change_changes_nothing(sets: Any, wrong: SetChange, number: int) -> None:
    for changes in (
        (SetChange("four", ["198.18.0.2"], True), wrong),
        (wrong, SetChange("six", ["fd00::2"], True)),
    ):
        with pytest.raises(NetlinkError) as refused:
            change(sets, *changes)
        assert refused.value.errno == number
    assert members(sets, "four") | members(sets, "six") == set()


def test_a_table_that_is_not_there(netns: Any) -> None:
    with pytest.raises(NetlinkError, match="ENOENT"):
        change(netns, SetChange("four", ["198.18.0.2"], True))

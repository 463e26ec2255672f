"""Elements of nftables' sets and maps are spelled as pyroute2 reads them, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pyroute2.netlink.nfnetlink.nftsocket import nft_set_elem_list_msg

from quilt_netlink import nftsets
from quilt_netlink.channel import walk
from quilt_netlink.nftsets import Element, Flush, NftSets, SetChange


class Recorder:
    """A channel that keeps what it is to send."""

    port = 7

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def number(self, count: int) -> int:
        return 1

    def transaction(self, messages: Sequence[bytes], first: int, last: int) -> None:
        self.sent, self.last = list(messages), last


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(nftsets, "Channel", lambda sock: made)
    monkeypatch.setattr(nftsets, "open_socket", lambda *_: None)
    return made


def elements(message: bytes) -> list[Any]:
    read = nft_set_elem_list_msg(message)
    read.decode()
    listed = read.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or []
    return [element.get("attrs") for element in listed]


def test_what_is_written_is_read_by_pyroute2(recorder: Recorder) -> None:
    changes = [
        SetChange("set", ["10.42.1.5", b"\x0a\x2a\x01\x06"], True),
        SetChange("map", [Element(b"\x0a\x2a\x01\x05", "e_ab-4")], True),
        SetChange("ranges", [Element(b"\x0a\x00\x00\x00"), Element(b"\x0b\x00\x00\x00", ends=True)], False),
        Flush("fresh"),
    ]
    NftSets("t").change(changes)
    of_set, of_map, ranges, flush = recorder.sent[1:-1]
    keys = [dict(element)["NFTA_SET_ELEM_KEY"].get_attr("NFTA_DATA_VALUE") for element in elements(of_set)]
    assert keys == [bytes([10, 42, 1, 5]), bytes([10, 42, 1, 6])]
    (element,) = elements(of_map)
    verdict = dict(element)["NFTA_SET_ELEM_DATA"].get_attr("NFTA_DATA_VERDICT")
    assert verdict.get_attr("NFTA_VERDICT_CHAIN") == "e_ab-4"
    assert verdict.get_attr("NFTA_VERDICT_CODE") == "NFT_JUMP"
    assert [len(element) for element in elements(ranges)] == [1, 2]
    assert elements(flush) == []
    kinds = [walk(memoryview(message), len(message))[0][:3] for message in recorder.sent]
    assert [kind & 0xFF for kind, _, _ in kinds] == [16, 12, 12, 14, 14, 17]
    assert [bool(flags & 4) for _, flags, _ in kinds] == [False, False, False, False, True, False]
    assert ([seq for *_, seq in kinds], recorder.last) == ([1, 2, 3, 4, 5, 6], 5)


def test_many_elements_are_several_messages_of_one_transaction(recorder: Recorder) -> None:
    keys = [number.to_bytes(16) for number in range(5_000)]
    NftSets("t").change([SetChange("six", keys, True), SetChange("other", keys[:1], False)])
    assert len(recorder.sent) == 6
    assert all(len(message) < 65_536 for message in recorder.sent)
    assert sum(len(elements(message)) for message in recorder.sent[1:-1]) == 5_001

"""Nodes agree on each other's groups whatever the network loses, doubles or replays."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quilt_multicast.core.sync import HISTORY, Sync, digest_interval, patience
from quilt_multicast.core.wire import (
    GROUPS_PER_DATAGRAM,
    LARGEST,
    Ack,
    Body,
    Delta,
    Digest,
    Envelope,
    Full,
    WireError,
    decode,
    encode,
    full_state,
)

KEY = b"k" * 32
A, B = "10.42.1.0", "10.42.2.0"


def group(number: int) -> str:
    return f"239.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Pair:
    """Two nodes and the network between them, on a clock of its own."""

    def __init__(self, loses: float = 0.0, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.loses = loses
        self.now = 100.0
        self.nodes = {A: Sync(1_000, lambda: 10_000), B: Sync(1_000, lambda: 10_000)}
        self.sent: list[tuple[Envelope, Body]] = []
        for name, sync in self.nodes.items():
            sync.set_peers(name, {A, B} - {name}, self.now)

    def restart(self, name: str, boot: int) -> None:
        self.nodes[name] = Sync(boot, lambda: 10_000)
        self.nodes[name].set_peers(name, {A, B} - {name}, self.now)

    def run(self, seconds: float) -> None:
        """Let time pass, and everything be sent that is due."""
        end = self.now + seconds
        while self.now < end:
            for sync in list(self.nodes.values()):
                for envelope, body in sync.due(self.now):
                    self.carry(envelope, body)
            self.now += 0.005

    def carry(self, envelope: Envelope, body: Body) -> None:
        self.sent.append((envelope, body))
        assert decode(KEY, encode(KEY, envelope, body)) == (envelope, body)
        if self.random.random() < self.loses:
            return
        receiver = self.nodes[envelope.receiver]
        _, answer = receiver.receive(envelope, body, self.now)
        if answer is not None:
            self.carry(*receiver.answer(envelope.sender, answer))

    def held(self, by: str, of: str) -> set[str]:
        return self.nodes[by].peers[of].groups


def test_a_join_is_sent_at_once_and_only_what_changed() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(0.1)
    pair.sent.clear()
    pair.nodes[A].change(group(2), True, pair.now)
    pair.run(0.01)
    deltas = [body for _, body in pair.sent if isinstance(body, Delta)]
    assert [body.added for body in deltas] == [(group(2),)]
    assert pair.held(B, A) == {group(1), group(2)}


def test_a_push_before_the_last_one_was_answered_is_taken() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(0.1)
    sender, receiver = pair.nodes[A], pair.nodes[B]
    for number, member in ((2, True), (3, True), (2, False)):
        sender.change(group(number), member, pair.now)
        pair.now += 0.006
        [(envelope, body)] = sender.due(pair.now)
        receiver.receive(envelope, body, pair.now)
    assert pair.held(B, A) == {group(1), group(3)} == sender.groups


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=120), st.integers(0, 1000))
def test_loss_heals(changes: list[tuple[int, bool]], seed: int) -> None:
    pair = Pair(loses=0.4, seed=seed)
    for number, member in changes:
        pair.nodes[A].change(group(number), member, pair.now)
        pair.run(0.01)
    pair.loses = 0.0
    pair.run(2 * digest_interval(1) + 2)
    assert pair.held(B, A) == pair.nodes[A].groups


def test_a_restarted_node_learns_everything_and_is_known_again() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.nodes[B].change(group(9), True, pair.now)
    pair.run(0.1)
    pair.restart(A, 2_000)
    pair.nodes[A].change(group(2), True, pair.now)
    pair.run(0.2)
    assert pair.held(A, B) == {group(9)}
    assert pair.held(B, A) == {group(2)}


def test_a_clock_set_back_does_not_silence_a_node() -> None:
    pair = Pair()
    pair.run(0.1)
    pair.restart(A, 10)
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(2.5)
    assert pair.held(B, A) == {group(1)}


def test_more_changes_than_are_remembered_are_sent_whole() -> None:
    pair = Pair(loses=1.0)
    for number in range(HISTORY + 300):
        pair.nodes[A].change(group(number), True, pair.now)
    pair.loses = 0.0
    pair.run(3)
    assert len(pair.held(B, A)) == HISTORY + 300


def test_a_replayed_datagram_changes_nothing() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(0.1)
    old = [item for item in pair.sent if item[0].sender == A]
    pair.nodes[A].change(group(1), False, pair.now)
    pair.run(0.1)
    for envelope, body in old:
        assert pair.nodes[B].receive(envelope, body, pair.now) == (None, None)
    assert pair.held(B, A) == set()


def test_a_datagram_for_another_node_is_not_taken() -> None:
    pair = Pair()
    body = Full(5, 0, 0, 0xFFFFFFFF, (group(1),))
    for envelope in (Envelope(A, "10.42.9.0", 5_000, 9), Envelope("10.42.9.0", B, 5_000, 9)):
        assert pair.nodes[B].receive(envelope, body, pair.now) == (None, None)


def test_row_27_a_silent_peer_is_forgotten_and_received_again() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(0.1)
    later = pair.now + patience(1) + 1
    assert [news.removed for news in pair.nodes[B].silent(later)] == [{group(1)}]
    pair.now = later
    pair.run(2.5)
    assert pair.held(B, A) == {group(1)}


def test_a_node_that_is_gone_is_forgotten() -> None:
    pair = Pair()
    pair.nodes[A].change(group(1), True, pair.now)
    pair.run(0.1)
    assert pair.nodes[B].set_peers(B, set(), pair.now) == {A}
    assert pair.nodes[B].peers == {}


def test_a_quiet_mesh_sends_digests_alone() -> None:
    pair = Pair()
    pair.run(1.0)
    pair.sent.clear()
    pair.run(10.0)
    assert {type(body) for _, body in pair.sent} == {Digest}
    assert 18 <= len(pair.sent) <= 22


def test_a_peer_that_never_agrees_is_not_hammered() -> None:
    pair = Pair()
    pair.nodes[B] = Sync(1_000, lambda: 1)  # accepts one group of a peer at most
    pair.nodes[B].set_peers(B, {A}, pair.now)
    for number in range(3):
        pair.nodes[A].change(group(number), True, pair.now)
    pair.run(20.0)
    assert sum(isinstance(body, Full) for _, body in pair.sent) < 40
    assert len(pair.held(B, A)) == 1


@given(st.sets(st.integers(0, 0x0FFFFFFF), max_size=900))
def test_parts_of_a_whole_cover_every_address_once(numbers: set[int]) -> None:
    groups = [f"{224 + (n >> 24)}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in numbers]
    parts = full_state(7, 8, groups)
    assert parts[0].low == 0
    assert parts[-1].high == 0xFFFFFFFF
    assert all(one.high + 1 == two.low for one, two in pairwise(parts))
    assert sorted(name for part in parts for name in part.groups) == sorted(groups)
    assert all(len(encode(KEY, Envelope(A, B, 1, 1), part)) <= LARGEST for part in parts)
    assert len(parts) <= len(numbers) // GROUPS_PER_DATAGRAM + 1


@given(st.binary(max_size=LARGEST + 10))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(KEY, data)


@given(st.binary(min_size=1, max_size=60))
def test_a_body_of_any_bytes_with_the_right_key_is_understood_or_refused(body: bytes) -> None:
    import hmac

    head = encode(KEY, Envelope(A, B, 1, 1), Digest(1, 1))[:29]
    data = head + body
    try:
        envelope, found = decode(KEY, data + hmac.digest(KEY, data, "sha256"))
    except WireError:
        return
    Sync(1, lambda: 10).receive(envelope, found, 0.0)


def test_another_key_is_refused() -> None:
    with pytest.raises(WireError, match="wrong key"):
        decode(b"x" * 32, encode(KEY, Envelope(A, B, 1, 1), Ack(1, 1)))

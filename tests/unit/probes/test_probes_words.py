"""What is on the wire, who watches whom, and what a node says of its paths."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_events.news import News, Topic
from quilt_probes.core.book import Book, Fault
from quilt_probes.core.link import INTERVAL
from quilt_probes.core.mesh import addresses
from quilt_probes.core.share import SHARE, watched
from quilt_probes.core.view import view
from quilt_probes.core.window import SPAN, WIDTH, Window, loss
from quilt_probes.core.wire import SIZE, Probe, Receipt, WireError, decode, encode
from quilt_probes.core.words import Outage, condition, pairs
from tests.support.probe_world import Claim, World, vtep

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
receipts = st.builds(Receipt, u32, u32, u64, u32, u64, st.integers(0, 2**32 - 1).map(lambda us: us * 1000))
probes = st.builds(Probe, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), u64, receipts, st.booleans())


@given(probes, st.binary(max_size=9))
def test_a_probe_is_read_as_it_was_written(probe: Probe, padding: bytes) -> None:
    assert decode(encode(probe) + padding) == probe


@given(st.binary(max_size=SIZE + 5))
def test_what_is_no_probe_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(b"\0" + data)


@given(probes)
def test_another_version_is_refused(probe: Probe) -> None:
    data = bytearray(encode(probe))
    data[2] += 1
    with pytest.raises(WireError):
        decode(bytes(data))


@given(st.lists(st.integers(1, 200), min_size=1))
def test_a_window_knows_the_last_numbers_in_whatever_order_they_come(numbers: list[int]) -> None:
    window = Window()
    highest = 0
    for number in numbers:
        assert window.accept(7, number) is (number > highest)
        highest = max(highest, number)
    assert window.last == highest
    known = {window.last - bit for bit in range(WIDTH) if window.bits >> bit & 1}
    assert known == {number for number in numbers if highest - number < WIDTH}
    assert 0 <= window.loss <= 1


def test_loss_counts_what_is_missing_at_the_end() -> None:
    assert loss(0b1111, 4) == 0
    assert loss(0b1011, 4) == 0.25
    assert loss(0b1111, 4, 4) == 0.5
    assert loss(0, 0) == 0
    assert loss(1, 100, 1000) == 1
    assert loss((1 << WIDTH) - 1, 1000) == 0
    assert loss(1, 1000) == pytest.approx((SPAN - 1) / SPAN)


def test_a_small_mesh_is_watched_whole() -> None:
    nodes = [f"node-{index}" for index in range(SHARE)]
    assert watched("node-x", nodes, 3) == set(nodes)


def test_of_a_large_mesh_both_ends_choose_the_same_and_another_share_each_time() -> None:
    nodes = [f"node-{index}" for index in range(2000)]
    chosen = {own: watched(own, [n for n in nodes if n != own], 5) for own in nodes[:200]}
    assert all((a in chosen[b]) == (b in chosen[a]) for a in chosen for b in chosen if a != b)
    sizes = [len(found) for found in chosen.values()]
    assert SHARE - 5 < sum(sizes) / len(sizes) < SHARE + 5
    assert max(sizes) < 2 * SHARE
    later = watched(nodes[0], nodes[1:], 6)
    assert len(later & chosen[nodes[0]]) < SHARE / 2


@given(st.lists(st.tuples(st.integers(0, 1), st.sets(st.integers(0, 3 * SHARE), min_size=SHARE)), max_size=6))
def test_what_was_drawn_before_changes_no_choice(looks: list[tuple[int, set[int]]]) -> None:
    held = Book("own", Random(1), lambda: 10**18)
    for at, (epoch, numbers) in enumerate(looks):
        nodes = {f"node-{number}": [vtep(f"node-{number}")] for number in numbers}
        # So far apart that no link is kept for what its peer sent.
        held.set_peers(nodes, epoch, 1e6 * at)
        assert held.links.keys() == watched("own", nodes, epoch)


def test_only_nodes_that_are_up_have_addresses_and_the_lowest_speaks() -> None:
    claims = [
        Claim("10.42.10.0/24", "a"),
        Claim("10.42.9.0/24", "a"),
        Claim("fd00::/64", "a"),
        Claim("10.42.2.0/24", "b", phase="Down"),
        Claim("10.42.3.0/24", "c", host_ip=""),
    ]
    assert addresses(claims) == {"a": ["10.42.9.0", "10.42.10.0"]}


def book(peers: int = 2) -> Book:
    made = Book("node-1", Random(1), lambda: 10**18)
    made.set_peers({f"node-{i}": [vtep(f"node-{i}")] for i in range(2, peers + 2)}, 0, 100.0)
    return made


def test_strangers_are_neither_believed_nor_answered() -> None:
    held = book()
    probe = encode(Probe(9, 1, 1))
    assert held.receive("10.42.77.0", probe, 1, 100.0) == "stranger"
    assert held.receive("10.42.2.0", b"noise", 1, 100.0) == "malformed"
    assert held.receive("10.42.2.0", probe, 1, 100.0) == ""
    assert {address for address, _, _ in held.due(200.0)} == {"10.42.2.0", "10.42.3.0"}


def test_however_much_comes_a_peer_is_sent_one_probe_in_an_interval() -> None:
    held = book()
    sent = 0
    for second in range(100):
        now = 100.0 + second
        held.wake(now)
        for number in range(50):
            held.receive("10.42.2.0", encode(Probe(9, 1 + second * 50 + number, 1)), 1, now)
        held.judge(now)
        sent += sum(address == "10.42.2.0" and not full for address, _, full in held.due(now))
    assert sent <= 100 / INTERVAL + 1


def test_a_peer_that_is_not_watched_is_answered_while_it_sends() -> None:
    nodes = {f"n{i}": [f"10.42.{i // 256}.{i % 256}"] for i in range(2, 5000)}
    held = Book("n1", Random(1), lambda: 10**18)
    held.set_peers(nodes, 0, 100.0)
    other = next(node for node in nodes if node not in held.links)
    assert held.receive(nodes[other][0], encode(Probe(9, 1, 1)), 1, 100.0) == ""
    assert nodes[other][0] in {address for address, _, _ in held.due(103.0)}
    held.set_peers(nodes, 0, 120.0)
    assert other not in held.links


def test_conditions_are_few_words() -> None:
    assert condition(book(0)).reason == "NoPeers"
    assert condition(book()).reason == "Unanswered"
    world = World(("node-1", "node-2", "node-3"))
    world.run(20)
    assert (condition(world.books["node-1"]).status, condition(world.books["node-1"]).reason) == (
        "True",
        "Reachable",
    )
    world.fate = lambda source, target, full: None if source == "node-1" else 0.001
    world.run(20)
    found = condition(world.books["node-1"])
    assert (found.status, found.reason) == ("False", "ProbesLost")
    assert found.message == "Probes through the overlay are lost: node-1 → node-2, node-1 → node-3."


def test_an_outage_of_many_names_three_and_does_not_count() -> None:
    faults = [Fault("a", f"n{index}") for index in range(9)]
    assert pairs(faults) == "a → n0, a → n1, a → n2 and others"
    assert pairs(faults) == pairs(faults[:4])


def test_an_outage_is_one_event_and_its_end_another() -> None:
    world = World(("node-1", "node-2", "node-3", "node-4"))
    outages = {node: Outage() for node in world.nodes}
    news: list[tuple[str, News]] = []

    def run(seconds: int) -> None:
        for _ in range(seconds):
            world.run(1)
            for node, outage in outages.items():
                if found := outage.follow(world.books[node]):
                    news.append((node, found))

    run(20)
    assert not news
    world.fate = lambda source, target, full: None if target == "node-4" else 0.001
    run(60)
    # All that miss the node file it under one name, and it says itself that it misses most.
    assert {found.topic.about for _, found in news} == {"node-4", "quilt-mesh"}
    assert len(news) == 4
    failing = Topic("PathFailing", "Probes through the overlay are lost", "node-4")
    assert ("node-1", News(failing, "node-1 → node-4")) in news
    news.clear()
    world.fate = lambda source, target, full: 0.001
    run(30)
    assert {found.topic.about for _, found in news} == {"node-4", "quilt-mesh"}
    assert {(found.topic.reason, found.topic.warning) for _, found in news} == {("PathRecovered", False)}
    assert len(news) == 4


def test_what_was_measured_is_served() -> None:
    world = World(("node-1", "node-2", "node-3"))
    world.run(30)
    found = view(world.books["node-1"])
    assert found.node == "node-1"
    assert [(peer.node, peer.inward, peer.outward) for peer in found.peers] == [
        ("node-2", "ok", "ok"),
        ("node-3", "ok", "ok"),
    ]
    assert all(peer.round_trip and peer.round_trip < 0.01 for peer in found.peers)

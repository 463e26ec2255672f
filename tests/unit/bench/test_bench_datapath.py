"""What the packets' benchmark makes of its samples, and what it reads of others."""

from __future__ import annotations

from itertools import product

import pytest

from bench import kinds
from bench.bench import Bench
from bench.cases import datapath as case
from bench.flannel_mesh import _network, _subnets
from bench.kinds import FEW, KINDS, RR, STREAMS
from bench.mesh import DIRECT, IPV6, Mesh, Pod, Shape
from bench.node import BenchError
from bench.quilt_mesh import tracking
from bench.ratio import Ratio
from bench.runs import GROUPS, RULED, variant
from bench.traffic import Reached

RATES, LATENCY = STREAMS[0].figures[0], RR.figures[1]


PLACES = ("other node", "same node", "ClusterIP")


def test_the_subnets_of_flanneld_are_those_of_its_first_addresses() -> None:
    four = "FLANNEL_NETWORK=10.44.0.0/16\nFLANNEL_SUBNET=10.44.83.1/24\n"
    six = "FLANNEL_IPV6_NETWORK=fd00:44::/48\nFLANNEL_IPV6_SUBNET=fd00:44:0:9::1/64\n"
    rest = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    assert _subnets(four + rest) == ["10.44.83.0/24"]
    assert _subnets(four + six + rest) == ["10.44.83.0/24", "fd00:44:0:9::/64"]


def test_flannel_is_given_what_the_place_needs() -> None:
    assert _network(Shape((3, 4)))["Backend"] == {"Type": "vxlan"}
    assert _network(Shape((3, 4), (DIRECT,)))["Backend"] == {"Type": "vxlan", "DirectRouting": True}
    assert _network(Shape((3, 4), (IPV6,)))["EnableIPv6"]


def test_rules_that_untrack_do_the_rest_of_what_they_do() -> None:
    listing = [
        "table inet quilt { # handle 5",
        "\tchain overlay { # handle 1",
        "\t\tip saddr @overlay_sources_v4 notrack accept # handle 20",
        '\t\tcounter name "overlay_unknown_peer" drop # handle 22',
        "\t}",
        "\tchain output { # handle 2",
        "\t\tudp dport 4789 @th,96,24 0x64 notrack accept # handle 23",
    ]
    assert tracking(listing) == [
        "replace rule inet quilt overlay handle 20 ip saddr @overlay_sources_v4 accept",
        "replace rule inet quilt output handle 23 udp dport 4789 @th,96,24 0x64 accept",
    ]


def test_traffic_has_a_way_to_every_place_of_a_mesh() -> None:
    client, beside, other = (Pod(f"netns{last}", f"10.0.0.{last}", f"fd00::{last}") for last in (1, 2, 3))
    mesh = Mesh(Shape((3, 4)), None, client, beside, (other,))  # type: ignore[arg-type]
    ways = {place: (way.address, way.port) for place, way in mesh.ways.items()}
    assert ways == {
        "other node": ("10.0.0.3", 5999),
        "same node": ("10.0.0.2", 5999),
        "ClusterIP": ("10.96.0.9", 5999),
        "hostPort": ("198.18.200.4", 6999),
    }
    dual = Mesh(Shape((3, 4), (IPV6,)), None, client, beside, (other,))  # type: ignore[arg-type]
    assert [way.address for way in dual.ways.values()] == ["fd00::3"]
    assert [(run.whose, run.group) for run in variant(mesh, "bare")] == [
        ("bare", "other node"),
        ("bare", "same node"),
    ]


def test_figures_are_read_in_their_units() -> None:
    found = Reached(rate=1.25e9, used=0.5, used_by_all=1.6, p50=30.5, p99=90.5)
    read = {figure.what: figure.of(found) for kind in KINDS for figure in kind.figures}
    # 1.6 ns of processors for a byte are 0.2 s for a gigabit.
    assert read["TCP, 1 stream"] == pytest.approx(10)
    assert read["TCP, 1 stream, processors"] == pytest.approx(200)
    assert (read["request-response, p50"], read["request-response, p99"]) == (30.5, 90.5)
    assert read["UDP, 64 bytes"] == pytest.approx(1.25e6)


def test_every_figure_is_beside_what_was_measured_with_it_and_no_other() -> None:
    figures = [figure for kind in KINDS for figure in kind.figures]
    samples = {(kinds.QUILT, *key): [3.0, 1.0, 2.0] for key in product(PLACES, figures)}
    samples |= {(kinds.FLANNEL, *key): [4.0, 4.0, 4.0] for key in product(PLACES, figures)}
    samples |= {(kinds.HOST, "other node", figure): [8.0, 8.0, 8.0] for figure in figures}
    result = case._result(samples)
    against = [line.against for line in result.lines if line.what.startswith("UDP, 64")]
    assert against == [kinds.FLANNEL, kinds.HOST, kinds.FLANNEL, kinds.FLANNEL]
    line = result.lines[0]
    assert (line.value, line.other, line.turns) == (2.0, 4.0, Ratio(0.5, 0.25, 0.75))
    assert (line.note, line.better, line.met) == ("spread 1 to 3 and 4 to 4", "more", False)
    assert [series.points[:1] for series in result.plots[0].series] == [[(1.0, 0.25)], [(1.0, 0.5)], []]


@pytest.mark.parametrize(
    ("figure", "place", "against", "limit"),
    [
        (RATES, "other node", kinds.FLANNEL, 1.0),
        (LATENCY, "other node", kinds.FLANNEL, 1.0),
        (kinds.CRR.figures[1], "other node", kinds.FLANNEL, 1.1),
        (RR.figures[0], "same node", kinds.FLANNEL, 1.05),
        (LATENCY, "same node", kinds.FLANNEL, None),
        (RATES, "same node", kinds.HANDMADE, 0.99),
        (LATENCY, "other node", kinds.HANDMADE, 1.01),
        (RATES, "other node", kinds.HOST, None),
        (RATES, "ClusterIP", kinds.FLANNEL, None),
    ],
)
def test_what_a_result_must_reach(
    figure: kinds.Figure, place: str, against: str, limit: float | None
) -> None:
    assert kinds.target(figure, place, against) == limit


def test_parts_are_chosen_by_their_names() -> None:
    parts = case._parts(Bench(only=["request-response", "same node", "Flannel"]))
    assert (parts.kinds, parts.groups, parts.others) == ([RR], ["same node"], ["Flannel"])
    every = case._parts(Bench())
    assert (every.kinds, every.groups) == (list(KINDS), list(GROUPS))


def test_all_kinds_are_made_to_the_main_places_and_a_few_to_the_rest() -> None:
    compared = list(case._parts(Bench()).compared())
    assert {group for kind, group in compared if kind not in FEW} == set(PLACES)
    assert {group for kind, group in compared if kind in FEW} == set(GROUPS)


def test_what_has_no_rules_is_compared_with_each_number_of_them() -> None:
    figure = RR.figures[0]
    samples = {(kinds.QUILT, place, figure): [2.0] for place in RULED}
    samples |= {(kinds.OFF, place, figure): [1.0] for place in RULED}
    lines = case._result(samples).lines
    assert [(line.what, line.against, line.ratio) for line in lines] == [
        (f"request-response, p50, {place}", kinds.OFF, 2.0) for place in RULED
    ]


def test_a_part_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(BenchError, match=r"no part rr; there are: TCP, 1 stream; .*host to host"):
        case._parts(Bench(only=["rr"]))

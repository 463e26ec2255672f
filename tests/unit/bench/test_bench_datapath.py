"""What the packets' benchmark makes of its samples, and what it reads of others."""

from __future__ import annotations

from bench.cases import datapath as case
from bench.datapath import _subnet


def test_the_subnet_of_flanneld_is_that_of_its_first_address() -> None:
    variables = (
        "FLANNEL_NETWORK=10.44.0.0/16\nFLANNEL_SUBNET=10.44.83.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert _subnet(variables) == "10.44.83.0/24"


def test_every_figure_is_beside_what_was_measured_with_it_and_no_other() -> None:
    places = ("other node", "same node", "ClusterIP")
    samples = {(case.QUILT, place, kind): [3.0, 1.0, 2.0] for place in places for kind in case.KINDS}
    samples |= {(case.FLANNEL, place, kind): [4.0] for place in places for kind in case.KINDS}
    samples |= {(case.HOST, "other node", kind): [8.0] for kind in case.KINDS}
    result = case._result(samples)
    against = [line.against for line in result.lines if line.what.startswith("UDP")]
    assert against == [case.FLANNEL, case.HOST, case.FLANNEL, case.FLANNEL]
    line = result.lines[0]
    assert (line.value, line.other, line.ratio) == (2.0, 4.0, 0.5)
    assert line.note == "spread 1 to 3 and 4 to 4"
    assert [series.points[0] for series in result.plots[0].series] == [(1.0, 0.25), (1.0, 0.5)]

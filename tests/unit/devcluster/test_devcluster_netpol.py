"""What a report of Kubernetes' own tests of network policies says."""

from __future__ import annotations

import json
from pathlib import Path

from quilt_devcluster import netpol
from quilt_devcluster.netpol import Outcome


def spec(text: str, state: str, **more: object) -> dict[str, object]:
    return {"LeafNodeType": "It", "LeafNodeText": text, "State": state, "RunTime": 2_500_000_000, **more}


def test_what_ran_is_reported_and_not_what_was_left_out() -> None:
    specs = [
        {"LeafNodeType": "BeforeSuite", "State": "passed"},
        spec("allows", "passed"),
        spec("denies", "failed", Failure={"Message": "was reached"}),
        spec("hangs", "timedout"),
        spec("sctp", "skipped"),
    ]
    assert netpol.outcomes(json.dumps([{"SpecReports": specs}])) == [
        Outcome("allows", True, 2.5),
        Outcome("denies", False, 2.5, "was reached"),
        Outcome("hangs", False, 2.5),
    ]
    assert netpol.outcomes(json.dumps([{"SpecReports": None}])) == []


def test_tests_are_chosen_by_name_and_without_sctp() -> None:
    words = netpol.command(Path("/p"), Path("/k"), "ports", Path("/r"))
    assert words[0] == "/p"
    assert {"--ginkgo.focus=ports", "--ginkgo.label-filter=!Feature:SCTPConnectivity"} <= set(words)

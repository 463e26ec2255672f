"""What a report of Kubernetes' own tests of network policies says."""

from __future__ import annotations

import json
from pathlib import Path

from quilt_devcluster import cnp, netpol
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


def test_a_conformance_test_is_reported_with_its_subtests() -> None:
    log = """=== RUN   ClusterNetworkPolicy/Tcp
--- FAIL: ClusterNetworkPolicy (3.10s)
    --- PASS: ClusterNetworkPolicy/Tcp (1.00s)
        --- PASS: ClusterNetworkPolicy/Tcp/Should_allow_'it' (0.50s)
    --- FAIL: ClusterNetworkPolicy/Udp (2.10s)
    --- SKIP: ClusterNetworkPolicy/Sctp (0.00s)
"""
    assert cnp.outcomes(log) == [
        Outcome("Tcp", True, 1.0),
        Outcome("Tcp/Should_allow_'it'", True, 0.5),
        Outcome("Udp", False, 2.1),
    ]


def test_conformance_tests_that_send_sctp_are_left_out_where_the_kernel_has_none() -> None:
    assert any(word.startswith("-test.skip=") for word in cnp.command(Path("/p"), "", without_sctp=True))
    words = cnp.command(Path("/p"), "CNPAdminTierGress", without_sctp=False)
    assert words[-1] == "-test.run=^ClusterNetworkPolicy$/CNPAdminTierGress"

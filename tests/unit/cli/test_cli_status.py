"""Status: each thing that is wrong is reported once, with its object and the next step; nothing else is."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS, Level
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import report
from quilt_crds.wire import Condition
from quilt_crds.wire_network import SubnetCounts
from tests.support import cli_snapshots as some


def codes(snapshot: Snapshot) -> list[str]:
    return [item.code for item in report(snapshot).findings]


def test_a_healthy_mesh_has_rows_and_no_findings() -> None:
    found = report(some.healthy())
    assert found.findings == ()
    assert found.exit_code == EXIT_HEALTHY
    shown = [(row.name, row.peers.expected, row.peers.in_sync, row.healthy) for row in found.nodes]
    assert shown == [(name, 2, True, True) for name in some.NAMES]


def test_the_json_schema_is_stable() -> None:
    wire = msgspec.to_builtins(report(some.healthy()))
    assert list(wire) == ["kind", "schema", "healthy", "network", "nodes", "findings", "notLookedAt"]
    assert list(wire["nodes"][0]) == [
        "name", "phase", "subnets", "hostIP", "kubernetes", "agent", "runtime", "peers", "version", "healthy",
    ]  # fmt: skip
    assert wire["healthy"] is True


@pytest.mark.parametrize(
    ("changed", "phase", "code"),
    [
        ({"Ready": "False"}, "Down", "node-down"),
        ({"AgentUnresponsive": "True", "Ready": "Unknown"}, "Up", "agent-unresponsive"),
        ({"SubnetAllocated": "False", "Ready": "False"}, "Pending", "subnet-not-allocated"),
        ({"ClaimLost": "True", "Ready": "False"}, "Up", "claim-lost"),
        ({"RuntimeReady": "False", "DataplaneInSync": "False", "Ready": "False"}, "Up", "runtime-not-ready"),
        ({"DataplaneInSync": "False", "Ready": "False"}, "Up", "dataplane-not-in-sync"),
        ({"Ready": "False"}, "Pending", "node-pending"),
    ],
)
def test_a_sick_node_is_reported_once_by_its_cause(changed: dict[str, str], phase: str, code: str) -> None:
    sick = some.mesh_node(2, phase, **changed)
    found = report(some.healthy(mesh_nodes=(some.mesh_node(1), sick, some.mesh_node(3))))
    assert [(item.code, item.about) for item in found.findings] == [(code, "QuiltNode n2")]
    assert found.findings[0].todo
    assert found.exit_code == EXIT_PROBLEMS
    assert [row.healthy for row in found.nodes] == [True, False, True]


def test_what_a_runtime_warns_of_is_shown() -> None:
    text = "Chain inet wall f drops packets of quilt0 that pods send or get."
    well = some.mesh_node(2)
    held = [one for one in well.status.conditions if one.type != "RuntimeReady"]
    warned = (*held, Condition("RuntimeReady", "True", "Warning", text))
    node = msgspec.structs.replace(well, status=msgspec.structs.replace(well.status, conditions=warned))
    found = report(some.healthy(mesh_nodes=(some.mesh_node(1), node, some.mesh_node(3))))
    assert [(item.code, item.about, item.message) for item in found.findings] == [
        ("runtime-warning", "QuiltNode n2", text)
    ]


def test_a_node_that_moves_to_another_subnet_is_reported_once_and_with_the_way() -> None:
    moving = some.mesh_node(1, SubnetInUse="True")
    found = report(some.healthy(mesh_nodes=(moving,), subnets=(some.subnet(1), some.subnet(9, node="n1"))))
    assert "subnet-in-use" in {item.code for item in found.findings}
    assert "claims-several" not in {item.code for item in found.findings}


def test_a_node_that_never_joined_is_reported_with_its_pods_message() -> None:
    crashed = some.pod(3, ready=False, trouble="container agent crashes: exit code 1, restarted 4 times")
    found = report(
        some.healthy(
            mesh_nodes=(some.mesh_node(1), some.mesh_node(2)),
            subnets=(some.subnet(1), some.subnet(2)),
            pods=(some.pod(1), some.pod(2), crashed),
        )
    )
    (finding,) = found.findings
    assert (finding.code, finding.about) == ("node-not-in-mesh", "Node n3")
    assert "exit code 1" in finding.message
    assert finding.todo == "kubectl -n quilt-system logs quilt-mesh-3 -c agent --previous"
    assert [row.phase for row in found.nodes] == ["Up", "Up", "absent"]


def test_a_windows_node_is_not_of_the_mesh() -> None:
    nodes = (*(some.kube_node(index) for index in (1, 2, 3)), some.kube_node(4, system="windows"))
    assert codes(some.healthy(kube_nodes=nodes)) == []


def test_the_operator_is_reported_when_not_ready_and_when_absent() -> None:
    down = some.healthy()
    assert down.operator is not None
    assert codes(replace(down, operator=replace(down.operator, ready=0))) == ["operator-not-ready"]
    assert codes(some.healthy(operator=None)) == ["operator-absent"]
    unreadable = some.healthy(operator=None, unreadable={"deployments": "forbidden"})
    assert codes(unreadable) == []


@pytest.mark.parametrize(
    ("type_", "status", "code", "level"),
    [
        ("Accepted", "False", "network-not-accepted", Level.FAIL),
        ("SubnetsAvailable", "False", "subnets-exhausted", Level.FAIL),
        ("ClaimsConsistent", "False", "claims-inconsistent", Level.FAIL),
        ("WithdrawalPaused", "True", "withdrawal-paused", Level.WARN),
        ("AgentsResponsive", "False", "agents-silent", Level.WARN),
        ("PodsFit", "False", "pods-do-not-fit", Level.WARN),
    ],
)
def test_conditions_of_the_network_are_reported(type_: str, status: str, code: str, level: Level) -> None:
    held = (Condition(type_, status, "Because", "it is so"),)
    (finding,) = report(some.healthy(network=some.network(conditions=held))).findings
    assert (finding.code, finding.level, finding.message) == (code, level, "it is so")


def test_few_free_subnets_are_a_warning_and_say_how_to_extend() -> None:
    counts = SubnetCounts(total=254, allocated=250, free=4)
    found = report(some.healthy(network=some.network(counts)))
    assert [item.code for item in found.findings] == ["subnets-few"]
    assert '"10.42.0.0/16","NEW"' in found.findings[0].todo
    assert found.exit_code == EXIT_HEALTHY


def test_two_subnets_of_one_family_are_doubtful_and_one_of_each_is_not() -> None:
    second = some.subnet(9, node="n1")
    assert codes(some.healthy(subnets=(some.subnet(1), second))) == ["claims-several"]
    v6 = some.subnet(9, node="n1", cidr="fd42:0:0:1::/64")
    assert codes(some.healthy(subnets=(some.subnet(1), v6))) == []


def test_a_claim_without_a_node_is_doubtful_unless_it_is_being_released() -> None:
    gone = some.subnet(9)
    assert codes(some.healthy(subnets=(gone,))) == ["claim-orphaned"]
    assert codes(some.healthy(subnets=(some.subnet(9, "Releasing"),))) == []


def test_down_peers_and_peers_without_an_address_are_not_expected() -> None:
    claims = (some.subnet(1), some.subnet(2, "Down"), some.subnet(3, host_ip=""))
    assert [row.peers.expected for row in report(some.healthy(subnets=claims)).nodes] == [0, 1, 1]


def test_after_an_uninstall_what_is_shown_of_nodes_is_shown_as_old() -> None:
    assert codes(some.healthy(agents=None, operator=None)) == ["agents-absent", "operator-absent"]


def test_without_the_kinds_it_is_not_installed() -> None:
    found = report(Snapshot(installed=False))
    assert [item.code for item in found.findings] == ["not-installed"]
    assert found.exit_code == EXIT_PROBLEMS


def test_few_rights_say_less_and_guess_nothing() -> None:
    refused = dict.fromkeys(("nodes", "pods", "daemonsets"), "forbidden")
    limited = some.healthy(kube_nodes=None, pods=None, agents=None, unreadable=refused)
    found = report(limited)
    assert found.findings == ()
    assert {(row.kubernetes, row.agent) for row in found.nodes} == {("", "")}
    assert report(replace(limited, mesh_nodes=(), subnets=())).exit_code == EXIT_CANNOT_TELL


def test_a_claim_that_cannot_be_read_stops_no_diagnosis() -> None:
    odd = some.subnet(9, cidr="10.42.9.0/240", node="n1")
    found = report(some.healthy(subnets=(*some.healthy().subnets, odd)))
    assert [item.code for item in found.findings] == ["claims-several"]

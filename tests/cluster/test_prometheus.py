"""A real Prometheus scrapes the cluster: every alert fires from its cause and resolves, panels have data.

Alerts are as the chart has them but for their times, which `prometheus` shortens.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.support import alert_causes, alert_packets, forward_wall
from tests.support.alert_causes import Cause
from tests.support.commands import quiltctl
from tests.support.mesh import Mesh, Pod, install, rolled_out, until
from tests.support.pages import ROOT
from tests.support.prometheus import Prometheus, queries, rules, scraping

# Prometheus is built where it is not yet.
pytestmark = pytest.mark.timeout(1800)
MOST_SERIES = 250
# A busy machine is waited for; what it took is printed.
FIRES_S = 240.0
RESOLVES_S = 240.0
METRICS = re.findall(r"^\| `(quilt_\w+)", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def prometheus(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """All features are on, so that each has its metrics."""
    features = ("policy", "multicast")
    install(mesh, "monitoring.expose=true", *(f"network.{name}.enabled=true" for name in features))
    try:
        with scraping(mesh, mesh.nodes()[0], tmp_path_factory.mktemp("prometheus")) as found:
            until("every agent and runtime is scraped", lambda: found.up() == 2 * len(mesh.nodes()), 240)
            yield found
    finally:
        install(mesh)


def test_a_node_has_at_most_so_many_series(mesh: Mesh, prometheus: Prometheus) -> None:
    counted = prometheus.by_node('count by (node) ({job=~"agent|runtime", __name__!~"up|scrape_.+"})')
    assert counted.keys() == set(mesh.nodes())
    print(counted)
    assert max(counted.values()) <= MOST_SERIES


def test_every_alert_is_planted() -> None:
    assert {alert for causes in TOGETHER.values() for alert in causes} == {rule["alert"] for rule in rules()}


def test_every_metric_of_the_documents_exists(prometheus: Prometheus) -> None:
    assert len(METRICS) > 50
    known = prometheus.metadata()
    # A counter's family has its name with and without `_total`, by the format.
    assert [name for name in METRICS if not {name, name.removesuffix("_total")} & known] == []


Causes = dict[str, Cause]
"""What makes each alert fire; where several alerts have one cause it is planted once."""
TOGETHER: dict[str, Causes] = {
    "what needs a minute": {
        "QuiltWatchSilent": alert_causes.agent_hears_nothing,
        "QuiltPodsWaitForPolicies": alert_causes.agent_hears_nothing,
        "QuiltPathNarrow": alert_packets.path_is_narrow,
        "QuiltSubnetsExhausted": alert_causes.subnets_are_exhausted,
        "QuiltAddressesFew": alert_causes.addresses_are_few,
        "QuiltConnectionsFull": alert_packets.connections_are_many,
    },
    "packets and claims": {
        "QuiltPathFailing": alert_packets.path_is_cut,
        "QuiltUnknownPeer": alert_packets.strange_host_sends,
        "QuiltForgedSources": alert_packets.pod_forges,
        "QuiltOverlayErrors": alert_packets.overlay_has_no_way,
        "QuiltForwardDropped": alert_packets.forward_is_dropped,
        "QuiltFaultyClaims": alert_causes.claim_is_faulty,
        "QuiltCniFailing": alert_causes.cni_fails,
        "QuiltNeighborsFull": alert_packets.neighbors_are_many,
    },
    "what should run or stay": {
        "QuiltRuntimeGone": alert_causes.runtime_hangs,
        "QuiltDriftRepeats": alert_causes.much_is_changed,
        "QuiltNodeNotInSync": alert_causes.vni_is_taken,
        "QuiltNoLeader": alert_causes.nobody_leads,
    },
    "a silent node": {
        "QuiltAgentsUnresponsive": alert_causes.node_is_silent,
        "QuiltNodesDown": alert_causes.node_is_silent,
    },
    "all nodes silent": {"QuiltWithdrawalPaused": alert_causes.all_nodes_are_silent},
}
SHOWN = {"QuiltPathFailing": "{node} → ", "QuiltForwardDropped": forward_wall.NAMED}
"""What `quiltctl status` says beside the alert."""


def is_in_status(mesh: Mesh, text: str) -> bool:
    return text in quiltctl(mesh, "status").stdout


@pytest.mark.parametrize("causes", TOGETHER.values(), ids=TOGETHER)
def test_alerts_fire_from_their_causes_and_resolve(
    mesh: Mesh, pods: dict[str, Pod], prometheus: Prometheus, causes: Causes
) -> None:
    def is_quiet() -> bool:
        return not prometheus.firing()

    until("nothing fires before", is_quiet, RESOLVES_S, every=1)
    fired: dict[tuple[str, str], float] = {}

    def have_fired() -> bool:
        for one in prometheus.firing():
            fired.setdefault(one, time.monotonic() - begun)
        if missing := awaited - fired.keys():
            raise KeyError(*missing)
        return True

    with ExitStack() as planted:
        begun = time.monotonic()
        nodes = {cause: planted.enter_context(cause(mesh, pods)) for cause in dict.fromkeys(causes.values())}
        awaited = {(alert, nodes[cause]) for alert, cause in causes.items()}
        until(f"{awaited} fire", have_fired, FIRES_S, every=0.5)
        print({alert: f"{fired[alert, nodes[cause]]:.0f} s" for alert, cause in causes.items()})
        for alert in SHOWN.keys() & causes.keys():
            shown = SHOWN[alert].format(node=nodes[causes[alert]])
            until(f"status: {shown}", partial(is_in_status, mesh, shown), FIRES_S)
    until("nothing fires any more", is_quiet, RESOLVES_S, every=1)
    rolled_out(mesh)


def test_every_query_of_the_dashboards_has_data(prometheus: Prometheus) -> None:
    """Behind the alerts, so that every reason to count has been there once; a leader has just begun."""

    def all_have() -> bool:
        if silent := [title for title, expr in queries().items() if not prometheus.panel(expr)]:
            raise KeyError(*silent)
        return True

    until("every panel has data", all_have, RESOLVES_S, every=2)

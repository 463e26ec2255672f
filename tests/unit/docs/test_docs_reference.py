"""The reference page against the code: it is current, and what a running process shows is on it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry

import quilt_operator.metrics
from quilt_crds import names
from quilt_multicast.metrics import MulticastMetrics
from quilt_nodeagent.metrics import Metrics as AgentMetrics
from quilt_runtime.metrics import Metrics as RuntimeMetrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference.md").read_text()
CODES = set(re.findall(r"^\| `([\w…-]+)` \|", PAGE.partition("## Findings")[2], re.MULTILINE))


def test_the_page_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts/reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_metric_that_a_process_shows_is_on_the_page() -> None:
    assert quilt_operator.metrics.NODES
    multicast = CollectorRegistry()
    MulticastMetrics(multicast)
    registries = (REGISTRY, multicast, AgentMetrics().registry, RuntimeMetrics().registry)
    families = {family.name for registry in registries for family in registry.collect()}
    shown = set(re.findall(r"^\| `(quilt_\w+)", PAGE, re.MULTILINE))
    wanted = {name for name in families if name.startswith("quilt_")}
    assert len(wanted) > 40
    assert wanted <= shown | {name.removesuffix("_total") for name in shown}


def test_every_condition_is_on_the_page() -> None:
    network = (
        names.NETWORK_ACCEPTED,
        names.SUBNETS_AVAILABLE,
        names.CLAIMS_CONSISTENT,
        names.WITHDRAWAL_PAUSED,
        names.AGENTS_RESPONSIVE,
        names.PODS_FIT,
        names.READY,
    )
    _, of_network, of_node = re.split(r"### QuiltN\w+\n", PAGE.partition("## Events")[0])
    assert set(re.findall(r"^\| `(\w+)`", of_network, re.MULTILINE)) == set(network)
    node = (*names.AGENT_CONDITIONS, *names.OPERATOR_CONDITIONS)
    assert set(re.findall(r"^\| `(\w+)`", of_node, re.MULTILINE)) == set(node)


def test_codes_of_findings_are_on_the_page() -> None:
    """What the tests of the commands expect as a code is documented."""
    tests = "".join(path.read_text() for path in (ROOT / "tests/unit/cli").glob("*.py"))
    asserted = set(re.findall(r"\"((?:[a-z]+-)+[a-z]+)\"", tests))
    source = "".join(path.read_text() for path in (ROOT / "cli/quilt_cli/core").glob("*_*s.py"))
    codes = {code for code in asserted if f'("{code}", ' in source or f'"{code}",' in source}
    assert len(codes) > 15
    assert codes <= CODES


def test_no_event_name_is_filled_in() -> None:
    """A log event or a finding without a stable name could not be documented."""
    events = re.findall(r"^\| `([^`]+)` \|", PAGE.partition("## Log events")[2], re.MULTILINE)
    assert len(events) > 100
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in events)

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
EVENTS = set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Log events")[2], re.MULTILINE))
# Where reasons are decided: what is in CamelCase there is one.
DECIDED = ("operator/quilt_operator", "nodeagent/quilt_nodeagent/core/conditions.py")
LOG = r"(?:\blog|get_logger\(\))\.(?:debug|info|warning|error|exception|critical)\(\s*\"(\w+)\""
FINDING = r"\b(?:ok|unknown|warn|fail|judge|tell)\)?\(\s*f?\"([a-z][\w{}-]*)\""


def text(*paths: str) -> str:
    """The source below some paths; what tests and other programs than the product's have is left out."""
    found = [ROOT / path for path in paths]
    files = [file for path in found for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return "".join(file.read_text() for file in files)


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


def test_every_reason_is_on_the_page() -> None:
    """Reasons of conditions, of Events too, as the modules that decide them spell them."""
    modules = ("core/network_status.py", "core/status.py", "core/desired.py", "claiming.py", "reconcile.py")
    source = text(*(f"{DECIDED[0]}/{module}" for module in (*modules, "network.py")), DECIDED[1])
    spelled = set(re.findall(r"\"([A-Z][A-Za-z]+)\"", source)) - {"True", "False", "Unknown"}
    shown = set(re.findall(r"`(\w+)`", PAGE.partition("## Findings")[0]))
    assert len(spelled) > 35
    assert spelled <= shown


def test_every_event_is_on_the_page() -> None:
    """Those that are no condition's: the page lists them apart, each phase by itself."""
    others = PAGE.partition("The others:")[2].partition("## Findings")[0]
    phases = {f"Phase{phase}" for phase in (names.PENDING, names.UP, names.DOWN)}
    wanted = {
        "HandEditUndone",
        "DriftRepaired",
        "PodsNotConnected",
        "PathFailing",
        "PathRecovered",
        names.SUBNET_ALLOCATED,
        names.RELEASING,
        *phases,
    }
    assert set(re.findall(r"^\| `(\w+)` \|", others, re.MULTILINE)) == wanted


def test_every_log_event_is_on_the_page() -> None:
    """Whatever package logs it, and by whatever way a line is broken."""
    packages = [folder for folder in ROOT.glob("*/quilt_*") if folder.name != "quilt_devcluster"]
    source = text(*(str(folder.relative_to(ROOT)) for folder in packages))
    assert not re.search(r"from quilt_log import .*\blog as", source)
    logged = set(re.findall(LOG, source))
    assert len(logged) > 150
    assert logged <= EVENTS


def test_every_code_of_a_finding_is_on_the_page() -> None:
    """As the calls spell it; what is filled in is an ellipsis."""
    spelled = {re.sub(r"\{\w+\}", "…", code) for code in re.findall(FINDING, text("cli/quilt_cli"))}
    assert len(spelled) > 60
    assert spelled <= CODES


def test_codes_that_tests_expect_are_on_the_page() -> None:
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

"""Counts the tests by what they need; a skipped test fails the run: nothing is left out silently.

Run side by side (`pytest -n 2 --dist loadgroup`), tests of one group stay in one process and in order: those
of the shared cluster, those in namespaces, and those of each other file. The longest group starts first.

An example of Hypothesis may take as long as it takes: a busy machine is no finding.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

KINDS = ("unit", "netns", "cluster")

settings.register_profile("quilt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quilt")


def kind_of(nodeid: str) -> str:
    """The folder under tests/ that a test lives in."""
    parts = Path(nodeid.split("::")[0]).parts
    return parts[1] if len(parts) > 1 else "other"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("numprocesses", None):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            kind = kind_of(item.nodeid)
            item.add_marker(pytest.mark.xdist_group(kind if kind == "netns" else item.path.stem))
    order = ("shared cluster", "cluster", "netns", "unit")
    items.sort(key=lambda item: order.index(_rank(item)))


def _rank(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    shared = mark is not None and mark.args[0] == "shared cluster"
    return "shared cluster" if shared else kind_of(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        counts.update(kind_of(report.nodeid) for report in terminalreporter.stats.get(outcome, ()))
    line = ", ".join(f"{kind} {counts[kind]}" for kind in KINDS)
    terminalreporter.write_sep("=", f"tests that ran: {line}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == pytest.ExitCode.OK and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

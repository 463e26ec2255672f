"""Counts the tests by what they need; a skipped test fails the run: nothing is left out silently.

An example of Hypothesis may last as long as it needs: a busy machine is no finding.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

KINDS = ("unit", "netns", "cluster")

settings.register_profile("quilt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quilt")


def kind_of(nodeid: str) -> str:
    """The folder under tests/ that a test lives in."""
    parts = Path(nodeid.split("::")[0]).parts
    return parts[1] if len(parts) > 1 else "other"


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

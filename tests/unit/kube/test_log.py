"""The log: what a line holds, and in which order."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quilt_log import log
from tests.support.logs import capture_logs

START = "import logging, sys\nfrom pathlib import Path\nfrom quilt_log import log, log_as_json, silence\n"


def written(program: str) -> list[dict[str, Any]]:
    """Lines of a program, which logs from level info."""
    whole = f'{START}log_as_json("info", sys.stdout)\n{program}'
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_holds_fields_event_level_and_time() -> None:
    [line] = written('log.info("pod_added", pod="a", path=Path("/run"))')
    assert list(line) == ["pod", "path", "event", "level", "timestamp"]
    assert (line["pod"], line["event"], line["level"]) == ("a", "pod_added", "info")
    assert line["path"] == repr(Path("/run"))
    assert line["timestamp"].endswith("Z")
    assert datetime.now(UTC) >= datetime.fromisoformat(line["timestamp"])


def test_levels_below_the_wanted_one_and_libraries_below_warning_are_left_out() -> None:
    lines = written(
        'library = logging.getLogger("x")\n'
        'log.debug("quiet")\nlibrary.info("quiet")\nlibrary.warning("of %s", "x")'
    )
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [("of x", "warning", "x")]
    assert written('silence()\nlog.error("quiet")') == []


def test_an_exception_has_its_traceback() -> None:
    first, second = written(
        'error = ValueError("given")\nlog.error("failed", exc_info=error)\n'
        'try:\n    raise OSError("handled")\nexcept OSError:\n    log.exception("failed")'
    )
    assert first["exception"].endswith("ValueError: given")
    assert second["exception"].startswith("Traceback")
    assert second["exception"].endswith("OSError: handled")
    assert {first["level"], second["level"]} == {"error"}


def test_tests_see_events_of_all_levels() -> None:
    with capture_logs() as logs:
        log.debug("one", number=1)
    assert logs == [{"event": "one", "log_level": "debug", "number": 1}]

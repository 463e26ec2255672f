"""The operator's log: one JSON object a line, whichever thread writes."""

from __future__ import annotations

import json
import subprocess
import sys

LINES = 2000
PROGRAM = f"""
import logging
import sys
import threading
from quilt_log import log, log_as_json

sys.setswitchinterval(1e-6)
log_as_json("info", sys.stderr)
library = logging.getLogger("library")
threads = [
    threading.Thread(target=lambda: [log.info("program", number=n) for n in range({LINES})]),
    threading.Thread(target=lambda: [library.warning("library") for n in range({LINES})]),
]
for thread in threads:
    thread.start()
"""


def test_lines_of_the_operator_and_of_its_libraries_are_never_mixed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, check=True, timeout=120)
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert sorted(events) == ["library"] * LINES + ["program"] * LINES

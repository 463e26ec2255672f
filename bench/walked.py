"""A program of ours that notes which of our files its functions are in: `python -m bench.walked PACKAGE …`.

SIGUSR2 begins, the next SIGUSR2 ends: then FOLDER/PACKAGE (the environment's WALK names the folder) holds a
JSON object of files and the moments (perf_counter) at which each was entered first. While it is noted,
FOLDER/PACKAGE.on exists.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER = "WALK"


class Walk:
    """What was entered since it began; one for all threads."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._marker = target.with_name(f"{target.name}.on")
        self._entered: dict[CodeType, float] | None = None

    def profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        """As `sys.setprofile` calls it."""
        entered = self._entered
        if entered is not None and event == "call":
            entered.setdefault(frame.f_code, time.perf_counter())

    def toggle(self, _signal: int, _frame: FrameType | None) -> None:
        """Begin, or write what was noted."""
        entered, self._entered = self._entered, None
        if entered is None:
            self._entered = {}
            self._marker.touch()
            return
        files: dict[str, float] = {}
        for code, moment in entered.items():
            # Class bodies and modules that are imported just then are no steps of the way.
            if "/quilt_" in code.co_filename and code.co_name != "<module>":
                files[code.co_filename] = min(moment, files.get(code.co_filename, moment))
        self._target.write_text(json.dumps(files))
        self._marker.unlink()


def main() -> None:
    """Become the program that the arguments name."""
    package = sys.argv[1]
    del sys.argv[0]
    walk = Walk(Path(os.environ[FOLDER]) / package)
    signal.signal(signal.SIGUSR2, walk.toggle)
    threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    runpy.run_module(package, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

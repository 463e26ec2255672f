"""Run a program and note which of the product's files its functions are in: `python -m bench.walked …`.

SIGUSR2 begins, the next SIGUSR2 ends: then FOLDER/PACKAGE (the environment's WALK names the folder) holds a
JSON object: `files` and the moments (perf_counter) at which each was entered first, `calls` the moments at
which it called another process. While it is noted, FOLDER/PACKAGE.on exists. `Notes` is the other side: it
begins, ends and reads.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER = "WALK"
PROGRAM = (sys.executable, "-m", "bench.walked")
ROOT = Path(__file__).parents[1]
PACKAGES = {"agent": "quilt_nodeagent", "runtime": "quilt_runtime", "operator": "quilt_operator"}
CALL = ("grpc/aio/_channel.py", "__call__")
"""The file and the function that every call of another process passes."""
PAUSE, PATIENCE = 0.01, 30.0
Steps = dict[tuple[str, str], float]
"""(process, file) and the moment of entering it."""


class Walk:
    """What was entered since it began; one for all threads."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._marker = target.with_name(f"{target.name}.on")
        self._entered: dict[CodeType, float] | None = None
        self._calls: list[float] = []

    def profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        """As `sys.setprofile` calls it."""
        entered = self._entered
        if entered is None or event != "call":
            return
        moment = time.perf_counter()
        entered.setdefault(frame.f_code, moment)
        if frame.f_code.co_name == CALL[1] and frame.f_code.co_filename.endswith(CALL[0]):
            self._calls.append(moment)

    def toggle(self, _signal: int, _frame: FrameType | None) -> None:
        """Begin, or write what was noted."""
        entered, self._entered = self._entered, None
        if entered is None:
            self._entered, self._calls = {}, []
            self._marker.touch()
            return
        files: dict[str, float] = {}
        for code, moment in entered.items():
            # Class bodies and modules that are imported just then are no steps of the way.
            if "/quilt_" in code.co_filename and code.co_name != "<module>":
                files[code.co_filename] = min(moment, files.get(code.co_filename, moment))
        self._target.write_text(json.dumps({"files": files, "calls": self._calls}))
        self._marker.unlink()


class Notes:
    """What processes that run by this module enter; `pids` by the process's name (see PACKAGES)."""

    def __init__(self, folder: Path, pids: Mapping[str, int]) -> None:
        self._folder = folder
        self._pids = pids

    def begin(self) -> None:
        """Have all of them note from now on."""
        self._toggle(noting=True)

    def end(self, until: float) -> Steps:
        """Have them end; return what was entered up to the moment `until` (perf_counter).

        The part of one that called another ends with its last call: what it enters while it waits for the
        answer, as for the kernel's notices of its own writes, is on no way.
        """
        self._toggle(noting=False)
        steps: Steps = {}
        for name in self._pids:
            noted = json.loads((self._folder / PACKAGES[name]).read_text())
            ends = max((moment for moment in noted["calls"] if moment <= until), default=until)
            for file, moment in noted["files"].items():
                if moment <= ends:
                    steps[name, str(Path(file).relative_to(ROOT))] = moment
        return steps

    def _toggle(self, *, noting: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        for pid in self._pids.values():
            os.kill(pid, signal.SIGUSR2)
        while any((self._folder / f"{PACKAGES[name]}.on").exists() is not noting for name in self._pids):
            if time.monotonic() > deadline:
                raise TimeoutError("a process does not begin or end to note what it enters")
            time.sleep(PAUSE)


def common(walks: Iterable[Steps]) -> list[tuple[str, str]]:
    """Return what all walks entered, in the order of the last: what else a process does is on no way."""
    walks = list(walks)
    return sorted(set.intersection(*map(set, walks)), key=lambda step: walks[-1][step])


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

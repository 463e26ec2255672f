"""What a benchmark found, and how it is kept: one JSON file each, for table, plots and page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bench.ratio import Ratio

FOLDER = Path(__file__).parent / "results"


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One figure. `value` is a median in `unit` unless `what` says otherwise.

    `against` names the peer or limit measured in the same run, `other` is its value. `turns` is the ratio of
    the two where they were measured in turns. The target is a limit of `value`, or with `target_is_ratio` of
    the ratio: a lower one where `better` says that more is better, else an upper one. A limit of the ratio
    that has an interval is met when the interval reaches it.
    """

    what: str
    value: float
    unit: str
    against: str = ""
    other: float | None = None
    turns: Ratio | None = None
    better: Literal["", "less", "more"] = ""
    p50: float | None = None
    p99: float | None = None
    target: float | None = None
    target_is_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How much of the other's value it is."""
        if self.turns is not None:
            return self.turns.middle
        return self.value / self.other if self.other else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        figure = self._best if self.target_is_ratio else self.value
        if self.target is None or figure is None:
            return None
        return figure >= self.target if self.better == "more" else figure <= self.target

    @property
    def _best(self) -> float | None:
        """The ratio, or the end of its interval that is nearer to the target."""
        if self.turns is None:
            return self.ratio
        return self.turns.high if self.better == "more" else self.turns.low


class Series(msgspec.Struct, kw_only=True):
    """A curve or a distribution: points (x, y) of one thing."""

    name: str
    points: list[tuple[float, float]]


class Plot(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A drawing: `kind` is "line" (log-log over peers), "cdf" (latencies) or "time"."""

    name: str
    title: str
    kind: str
    x: str
    y: str
    series: list[Series]
    limit: float | None = None


class Result(msgspec.Struct, kw_only=True):
    """All that one benchmark found on one machine."""

    name: str = ""
    title: str = ""
    command: str = ""
    """What measures it again, where that is not `python -m bench NAME`."""
    method: str = ""
    machine: str = ""
    lines: list[Line]
    plots: list[Plot] = []

    def save(self) -> Path:
        """Write the file that git keeps."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.name}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path


def saved() -> list[Result]:
    """Every result that is kept."""
    return [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(FOLDER.glob("*.json"))]


def machine() -> str:
    """The machine in one line, without its name, and how busy it was: more than its cores is too busy."""
    kernel = platform.release().partition("-")[0]
    busy = f"load average {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}, {busy}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` % of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * percent // 100) - 1))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def distribution(values: Sequence[float], points: int = 100) -> list[tuple[float, float]]:
    """Return a cumulative distribution: (value, share not above it), few enough points to keep."""
    ordered = sorted(values)
    step = max(1, len(ordered) // points)
    picked = [*range(step - 1, len(ordered), step)]
    if picked[-1] != len(ordered) - 1:
        picked.append(len(ordered) - 1)
    return [(round(ordered[at], 3), round((at + 1) / len(ordered), 4)) for at in picked]

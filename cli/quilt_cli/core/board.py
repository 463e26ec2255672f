"""What a page shows of the mesh, as rows with versions: who has seen one version gets what changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from quilt_cli.core import subnet_map
from quilt_cli.core.event import Event
from quilt_cli.core.finding import Finding, Level
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import Network, Report, Row
from quilt_crds.names import UP
from quilt_crds.wire import Wire

# Findings of one kind that the page names; each node has its own besides.
_ALIKE = 5
T = TypeVar("T")


class Line(Wire, frozen=True, omit_defaults=True):
    """One node: its row of `quiltctl status`, and what is wrong with it, the worst first."""

    row: Row
    findings: tuple[Finding, ...] = ()


class Overview(Wire, frozen=True):
    """The mesh as a whole. `findings` are a few of each kind, `more` how many there are besides, by code.

    `unreadable` says what could not be looked at and why, `silent` what the API server no longer brings.
    """

    context: str
    healthy: bool | None
    network: Network | None
    ranges: tuple[subnet_map.Range, ...]
    nodes: int
    up: int
    findings: tuple[Finding, ...]
    more: Mapping[str, int]
    unreadable: Mapping[str, str]
    silent: Mapping[str, str]


class Delta(Wire, frozen=True, omit_defaults=True):
    """Rows that are new or other than before, by key, and the keys of rows that are gone."""

    changed: dict[str, Any] = msgspec.field(default_factory=dict)
    gone: tuple[str, ...] = ()


class Changes(Wire, frozen=True, omit_defaults=True):
    """All that is other than in the version that was asked about; None is as it was."""

    version: int
    overview: Overview | None = None
    nodes: Delta | None = None
    subnets: Delta | None = None
    events: Delta | None = None


class Table(Generic[T]):
    """Rows by key, each with the version in which it last changed; None in place of a row that is gone."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, T | None]] = {}

    def show(self, rows: Mapping[str, T], version: int) -> bool:
        """Show exactly these rows; return whether any is other than before."""
        gone = [key for key, (_, row) in self._rows.items() if row is not None and key not in rows]
        other = [(key, row) for key, row in rows.items() if self._rows.get(key, (0, None))[1] != row]
        self._rows.update((key, (version, row)) for key, row in other)
        self._rows.update((key, (version, None)) for key in gone)
        return bool(gone or other)

    def since(self, version: int) -> Delta | None:
        """Return what changed after `version`, if anything. At 0 nothing was there, so nothing is gone."""
        newer = [(key, row) for key, (since, row) in self._rows.items() if since > version]
        gone = tuple(key for key, row in newer if row is None) if version else ()
        changed = {key: row for key, row in newer if row is not None}
        return Delta(changed, gone) if changed or gone else None


class Board:
    """The pages' content as last shown; `version` grows with each change."""

    def __init__(self, context: str = "") -> None:
        self.version = 0
        self._context = context
        self._overview: tuple[int, Overview | None] = (0, None)
        self._nodes = Table[Line]()
        self._subnets = Table[subnet_map.Claim]()
        self._events = Table[Event]()

    def show(
        self, report: Report, snapshot: Snapshot, events: Iterable[Event], silent: Mapping[str, str]
    ) -> bool:
        """Show a judged snapshot and Events; return whether anything is other than before."""
        version = self.version + 1
        overview = _overview(self._context, report, snapshot, silent)
        changed = [
            self._nodes.show(lines(report), version),
            self._subnets.show(subnet_map.claims(snapshot), version),
            self._events.show({item.uid: item for item in events}, version),
            overview != self._overview[1],
        ]
        if changed[-1]:
            self._overview = (version, overview)
        if any(changed):
            self.version = version
        return any(changed)

    def since(self, version: int) -> Changes:
        """Return what changed after `version`. One that never was is 0: all is new to who asks about it."""
        version = version if 0 <= version <= self.version else 0
        changed, overview = self._overview
        return Changes(
            self.version,
            overview if changed > version else None,
            self._nodes.since(version),
            self._subnets.since(version),
            self._events.since(version),
        )


def lines(report: Report) -> dict[str, Line]:
    """Return a report's nodes by name, each with the findings about it."""
    about: dict[str, list[Finding]] = {}
    for item in report.findings:
        kind, _, name = item.about.partition(" ")
        if kind in {"QuiltNode", "Node"}:
            about.setdefault(name, []).append(item)
    return {row.name: Line(row, tuple(about.get(row.name, ()))) for row in report.nodes}


def few_of_each(findings: Sequence[Finding]) -> tuple[tuple[Finding, ...], dict[str, int]]:
    """Return the first few findings of each code, and how many more there are, by code."""
    seen: Counter[str] = Counter()
    shown = []
    for item in findings:
        seen[item.code] += 1
        if seen[item.code] <= _ALIKE:
            shown.append(item)
    return tuple(shown), {code: count - _ALIKE for code, count in seen.items() if count > _ALIKE}


def _overview(context: str, report: Report, snapshot: Snapshot, silent: Mapping[str, str]) -> Overview:
    shown, more = few_of_each([item for item in report.findings if item.level is not Level.OK])
    return Overview(
        context=context,
        healthy=report.healthy,
        network=report.network,
        ranges=subnet_map.ranges(snapshot.spec) if snapshot.network is not None else (),
        nodes=len(report.nodes),
        up=sum(row.phase == UP for row in report.nodes),
        findings=shown,
        more=more,
        unreadable=report.unreadable,
        silent=dict(silent),
    )

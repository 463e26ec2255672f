"""The matrix of what probes measured, as far as a person can look at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from quilt_cli.core.finding import Finding
from quilt_cli.core.latency import Path, Report, badness
from quilt_crds.wire import Wire

# Rows and columns that a screen shows.
_SIDE = 32


class Heat(Wire, frozen=True):
    """Directions between `nodes`, which are the worst of `of` nodes where there are more than fit.

    `matching` is what their names have in common, empty for no choice.
    """

    nodes: tuple[str, ...]
    of: int
    matching: str
    paths: tuple[Path, ...]
    healthy: bool | None
    findings: tuple[Finding, ...]
    silent: Mapping[str, str]


def heat(found: Report, matching: str = "") -> Heat:
    """Choose what of a report is shown: nodes with `matching` in their names, the worst of them first."""
    chosen = _chosen(found.paths, [name for name in found.nodes if matching in name])
    shown = set(chosen)
    return Heat(
        nodes=tuple(sorted(chosen)),
        of=len(found.nodes),
        matching=matching,
        paths=tuple(path for path in found.paths if path.source in shown and path.target in shown),
        healthy=found.healthy,
        findings=found.findings,
        silent=found.silent,
    )


def _chosen(paths: Iterable[Path], names: list[str]) -> list[str]:
    if len(names) <= _SIDE:
        return names
    among, worst = set(names), list[str]()
    for path in sorted(paths, key=badness, reverse=True):
        if path.source in among and path.target in among:
            worst += (path.source, path.target)
    return list(dict.fromkeys((*worst, *names)))[:_SIDE]

"""The names that people and programs meet, read from the code: docs/reference.md.

    python scripts/reference.py            write the page
    python scripts/reference.py --check    exit 1 when it is out of date

Read are calls: `Condition(type, status, reason, message)`, `note(…)` of Events, `log.info("event", …)`,
metrics by their classes, findings by their level. Where the code fills something in, the page has `…`. What
warnings and errors mean is in scripts/log_events.toml, which has to name exactly these.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path

from calls import ELSEWHERE, ROOT, Call, calls, constants

PAGE = Path("docs/reference.md")
MEANINGS = ROOT / "scripts/log_events.toml"
PROCESSES = {
    "operator": "`quilt-operator`",
    "nodeagent": "`quilt-agent`",
    "multicast": "`quilt-agent`",
    "policy": "`quilt-agent`",
    "probes": "`quilt-agent`",
    "runtime": "`quilt-runtime`",
    "kube": "all",
    "kube/quilt_events": "`quilt-agent`",
    "netlink": "agent and runtime",
}
LEVELS = {"ok", "unknown", "warn", "fail"}
LOGS = {"debug", "info", "warning", "error", "exception"}
METRICS = {
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Histogram": "histogram",
    "Summary": "summary",
}
HEAD = """\
# Reference: conditions, Events, findings, metrics, log events

Made from the code by `python scripts/reference.py`; `…` is what the code fills in. The API is in
[crds.md](crds.md), the values of the chart, ports and flags are in [configuration.md](configuration.md).
"""
EVENTS = """
## Events

Events about QuiltNodes, QuiltSubnets and the QuiltNetwork are in the namespace `default`, as those of all
cluster-scoped objects: `kubectl get events -n default --field-selector involvedObject.kind=QuiltNode`.
Repetitions within ten minutes are one Event with a count. A condition that becomes bad news, or bad news for
another reason, makes an Event whose reason is the condition's; the QuiltNetwork's conditions, `Ready` apart,
make one as well when they become good again.

An agent writes Events about its own QuiltNode: at most one of a kind of trouble in ten minutes and five of a
reason, and the next one counts what came meanwhile, as in `route (x250)`. Of an outage that many nodes see
the first writes it; in a mesh of more than 64 nodes so many names are all that they have for anything else.
"""
METRICS_HEAD = """
## Metrics

What to watch, and what is worth an alert, is in [configuration.md](configuration.md#metrics).
"""
LOGS_HEAD = """
## Log events

Each line of a log is a JSON object; `event` has one of these names. Warnings and errors:
"""
FINDINGS_HEAD = """
## Findings

What `quiltctl status`, `check`, `restore`, `connectivity test` and `connectivity perf` report with `-o json`,
as `code`. A command ends with 1 where one is `fail`.
"""


def conditions() -> Iterator[tuple[str, ...]]:
    """Kind, type, status, reason and message of each condition that is written."""
    for call in calls("operator", "nodeagent", "probes"):
        if call.name == "Condition" and len(call.node.args) >= 3:
            kind = "QuiltNetwork" if call.path.name == "network_status.py" else "QuiltNode"
            for reason, message in _reasons(call):
                shown = "that of the other condition" if reason == ELSEWHERE else f"`{reason}`"
                yield kind, call.text(0)[0], call.text(1)[0], shown, message


def _reasons(call: Call) -> Iterator[tuple[str, str]]:
    """Reasons of a condition with their messages; a Refusal's and an Address' are where these are made."""
    made = {"refusal": ("Refusal", 0), "address": ("Address", 1)}
    match call.node.args[2]:
        case ast.Attribute(value=ast.Name(id=owner)) if owner in made:
            name, at = made[owner]
            sources = [one for one in calls("operator") if one.name == name and len(one.node.args) > at]
            yield from ((one.text(at)[0], one.text(at + 1)[0]) for one in sources)
        case _:
            message = " or ".join(dict.fromkeys(call.text(3)))
            yield from ((reason, message) for reason in dict.fromkeys(call.text(2)))


def events() -> Iterator[tuple[str, ...]]:
    """Reason and message of the Events that are no condition's: the operator's, and those of nodes."""
    for call in calls("operator"):
        if call.name in {"note", "_tell"} and len(call.node.args) == 4:
            for reason in call.text(2):
                # A phase is filled in: each of them is a reason.
                phases = ("PENDING", "UP", "DOWN") if reason == f"Phase{ELSEWHERE}" else ()
                for one in [f"Phase{constants()[phase]}" for phase in phases] or [reason]:
                    if one != ELSEWHERE:
                        yield one, call.text(3)[0]
    for call in calls("nodeagent", "probes"):
        if call.name == "Topic":
            yield call.text(0)[0], f"{call.text(1)[0]}: {ELSEWHERE}."


def findings() -> list[tuple[str, ...]]:
    """Code, levels and message of each finding."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for call in calls("cli"):
        levels = _levels(call)
        if levels and len(call.node.args) >= 3:
            for code in call.text(0):
                held = found.setdefault(code, ([], []))
                held[0].extend(levels)
                held[1].extend(call.text(2))
    unique = dict.fromkeys
    return sorted((code, ", ".join(unique(a)), "; ".join(unique(b))) for code, (a, b) in found.items())


def _levels(call: Call) -> list[str]:
    """Levels of a finding; a local name for the judge means each of those that it may be."""
    if isinstance(call.node.func, ast.Attribute):
        return []
    if found := sorted(LEVELS.intersection(call.name.split(" or "))):
        return found
    judges = ("judge", "tell")
    named = (node.id for node in ast.walk(call.scope) if isinstance(node, ast.Name))
    return sorted(LEVELS.intersection(named)) if call.name in judges else []


def metrics() -> list[tuple[str, ...]]:
    """Name with labels, type and meaning of each metric."""
    found = []
    for call in calls("operator", "nodeagent", "runtime", "multicast", "policy", "probes"):
        type_ = METRICS.get(call.name, METRICS.get(call.name.capitalize()))
        # Of a loop over names and meanings each has its own.
        for name, meaning in zip(call.text(0), cycle(call.text(1))) if type_ and call.node.args else ():
            if name.startswith("quilt_"):
                total = "_total" if type_ == "counter" and not name.endswith("_total") else ""
                found.append((f"`{name}{total}{_labels(call)}`", str(type_), meaning))
    return sorted(found)


def _labels(call: Call) -> str:
    lists = [*call.node.args[2:3], *(item.value for item in call.node.keywords if item.arg == "labels")]
    names = [item.value for one in lists if isinstance(one, ast.List) for item in one.elts]  # type: ignore[attr-defined]
    return f"{{{','.join(map(str, names))}}}" if names else ""


def log_events() -> list[tuple[str, ...]]:
    """Name, level, processes and fields of each event that is logged."""
    found: dict[str, tuple[set[str], ...]] = {}
    for call in calls(*PROCESSES):
        if call.name in LOGS and _is_log(call.node.func) and call.node.args:
            for name in call.text(0):
                levels, processes, fields = found.setdefault(name, (set(), set(), set()))
                levels.add({"exception": "error"}.get(call.name, call.name))
                folder, package, *_ = call.path.relative_to(ROOT).parts
                processes.add(PROCESSES.get(f"{folder}/{package}", PROCESSES[folder]))
                named = {item.arg for item in call.node.keywords} - {None, "exc_info"}
                fields |= {f"`{name}`" for name in named}
    return [(f"`{name}`", *(", ".join(sorted(part)) for part in found[name])) for name in sorted(found)]


def explained(rows: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The rows of warnings and errors, with what they mean; SystemExit names those that nobody explains."""
    meanings = tomllib.loads(MEANINGS.read_text())
    found = {row[0].strip("`"): row for row in rows if {"warning", "error"} & set(row[1].split(", "))}
    if differ := sorted(found.keys() ^ meanings.keys()):
        raise SystemExit(f"{MEANINGS.name} and the code differ in: {', '.join(differ)}")
    for name, (event, level, process, fields) in found.items():
        yield event, level, process, meanings[name], fields


def _is_log(function: ast.expr) -> bool:
    owner = function.value if isinstance(function, ast.Attribute) else None
    if isinstance(owner, ast.Call):
        return isinstance(owner.func, ast.Attribute) and owner.func.attr == "get_logger"
    return isinstance(owner, ast.Name) and owner.id == "log"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a pipe in a cell is written so that it does not end the cell."""
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    lines = [list(head), ["---"] * len(cells[0]), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def page() -> str:
    """The whole page."""
    parts = [HEAD, "\n## Conditions\n"]
    known = dict.fromkeys(conditions())
    for kind in ("QuiltNetwork", "QuiltNode"):
        rows = [(f"`{type_}`", *rest) for of, type_, *rest in known if of == kind]
        parts += [f"\n### {kind}\n\n", table(("type", "status", "reason", "message"), rows)]
    rows = [(f"`{reason}`", text) for reason, text in events()]
    parts += [EVENTS, "\nThe others:\n\n", table(("reason", "message"), rows)]
    codes = [(f"`{code}`", *rest) for code, *rest in findings()]
    parts += [FINDINGS_HEAD, "\n", table(("code", "level", "message"), codes)]
    parts += [METRICS_HEAD, "\n", table(("metric", "type", "meaning"), metrics())]
    logged = log_events()
    loud = list(explained(logged))
    parts += [LOGS_HEAD, "\n", table(("event", "level", "process", "meaning", "fields"), loud)]
    quiet = [row for row in logged if row[0] not in {row[0] for row in loud}]
    parts += ["\nThe others:\n\n", table(("event", "level", "process", "fields"), quiet)]
    return "".join(parts)


def main() -> int:
    """Command line; answers the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when it is out of date")
    file, wanted = ROOT / PAGE, page()
    check = parser.parse_args().check
    if file.exists() and file.read_text() == wanted:
        return 0
    if check:
        sys.stderr.write(f"{PAGE} is out of date; run: python scripts/reference.py\n")
        return 1
    file.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

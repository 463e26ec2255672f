"""Answers of the control socket as tables and lines; fields that an older agent leaves out read as "-"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: names of the columns, and rows of texts. `empty` is printed when there are no rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str


def source(value: Any) -> str:
    """Where a neighbour is known from: `PimHello`, `External`, `External:babel`."""
    if isinstance(value, dict) and "External" in value:
        tag = (value["External"] or {}).get("tag")
        return f"External:{tag}" if tag else "External"
    return _text(value)


def neighbors(found: Iterable[Raw]) -> Sheet:
    """Neighbours with their source and the designated router."""
    rows = (
        (
            _text(item.get("interface")),
            _text(item.get("address")),
            _text(item.get("dr_priority")),
            "yes" if item.get("is_dr") else "",
            source(item.get("source")),
            _seconds(item.get("expires_in_secs")),
        )
        for item in found
    )
    columns = ("INTERFACE", "ADDRESS", "PRIORITY", "DR", "SOURCE", "EXPIRES")
    return Sheet(columns, tuple(rows), "no neighbors")


def rpf_routes(found: Iterable[Raw]) -> Sheet:
    """Static RPF entries."""
    rows = ((_text(item.get("source")), *rpf(item.get("rpf") or {})) for item in found)
    return Sheet(("SOURCE", "INTERFACE", "NEIGHBOR", "METRIC"), tuple(rows), "no static RPF routes")


def rpf(info: Raw) -> tuple[str, str, str]:
    """Interface, neighbour and metric of RPF information."""
    return (
        _text(info.get("upstream_interface")),
        _text(info.get("upstream_neighbor")),
        _text(info.get("metric")),
    )


def groups(found: Iterable[Raw]) -> Sheet:
    """Groups with their members here and the nodes that have members."""
    rows = (
        (
            _text(item.get("group")),
            _text(item.get("interface")),
            _list(item.get("members")),
            _list(item.get("nodes")),
        )
        for item in found
    )
    return Sheet(("GROUP", "INTERFACE", "MEMBERS HERE", "NODES"), tuple(rows), "no groups have members")


def routes(found: Iterable[Raw]) -> Sheet:
    """Multicast routes with their counters."""
    rows = (
        (
            "*" if item.get("source") is None else _text(item.get("source")),
            _text(item.get("group")),
            _text(item.get("input_interface")),
            _list(item.get("output_interfaces")),
            _list(item.get("nodes")),
            _text(item.get("origin")),
            _text(item.get("packets")),
        )
        for item in found
    )
    columns = ("SOURCE", "GROUP", "IN", "OUT", "NODES", "ORIGIN", "PACKETS")
    return Sheet(columns, tuple(rows), "no multicast routes")


def settings(found: Raw) -> Sheet:
    """Settings or counters, one a row."""
    rows = (
        (name, _list(value) if isinstance(value, list) else _text(value)) for name, value in found.items()
    )
    return Sheet(("NAME", "VALUE"), tuple(rows), "nothing")


def event(found: Raw) -> str:
    """A notification as a line: time, what happened, to what."""
    when = datetime.fromtimestamp(float(found.get("timestamp") or 0)).astimezone().strftime("%H:%M:%S")
    name = _text(found.get("event"))
    if name == "Lagged":
        return f"{when}  {found.get('missed')} events missed: this reader was too slow"
    skip = ("event", "timestamp", "action")
    parts = (
        f"{key}={source(value)}" for key, value in found.items() if key not in skip and value is not None
    )
    return f"{when}  {name}  {_text(found.get('action'))}  {' '.join(parts)}"


def line(found: Raw) -> str:
    """A notification as it came: one JSON object."""
    return json.dumps(found, separators=(",", ":"))


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(value: Any) -> str:
    return ", ".join(map(str, value)) if value else "-"


def _seconds(value: Any) -> str:
    return "never" if value is None else f"{value} s"

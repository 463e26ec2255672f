"""Answers of the control socket as tables and lines; fields that an older agent leaves out read as "-"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of objects: `columns` have by their heads the field that they show, or what makes a text of it.

    `empty` is printed when there are none.
    """

    empty: str
    columns: Mapping[str, str | Callable[[Raw], str]]

    def rows(self, found: Iterable[Raw]) -> list[list[str]]:
        """The texts of each object."""
        shown = self.columns.values()
        return [[text(item.get(of)) if isinstance(of, str) else of(item) for of in shown] for item in found]


NEIGHBORS = Sheet(
    "no neighbors",
    {
        "INTERFACE": "interface",
        "ADDRESS": "address",
        "PRIORITY": "dr_priority",
        "DR": lambda item: "yes" if item.get("is_dr") else "",
        "SOURCE": "source",
        "EXPIRES": lambda item: _seconds(item.get("expires_in_secs")),
    },
)
RPF_ROUTES = Sheet(
    "no static RPF routes",
    {
        "SOURCE": "source",
        "INTERFACE": "upstream_interface",
        "NEIGHBOR": "upstream_neighbor",
        "METRIC": "metric",
    },
)
GROUPS = Sheet(
    "no groups have members",
    {"GROUP": "group", "INTERFACE": "interface", "MEMBERS HERE": "members", "NODES": "nodes"},
)
ROUTES = Sheet(
    "no multicast routes",
    {
        "SOURCE": lambda item: "*" if item.get("source") is None else text(item["source"]),
        "GROUP": "group",
        "IN": "input_interface",
        "OUT": "output_interfaces",
        "NODES": "nodes",
        "ORIGIN": "origin",
        "PACKETS": "packets",
    },
)
SETTINGS = Sheet("nothing", {"NAME": "name", "VALUE": "value"})


def settings(found: Raw) -> list[Raw]:
    """Settings or counters, as objects of SETTINGS."""
    return [{"name": name, "value": value} for name, value in found.items()]


def event(found: Raw) -> str:
    """A notification as a line: time, what happened, to what."""
    when = datetime.fromtimestamp(float(found.get("timestamp") or 0)).astimezone().strftime("%H:%M:%S")
    name = text(found.get("event"))
    if name == "Lagged":
        return f"{when}  {found.get('missed')} events missed: this reader was too slow"
    skip = ("event", "timestamp", "action")
    parts = (f"{key}={text(value)}" for key, value in found.items() if key not in skip and value is not None)
    return f"{when}  {name}  {text(found.get('action'))}  {' '.join(parts)}"


def text(value: Any) -> str:
    """A value in a cell: no value as "-", a list with commas, a neighbor's source as `External:babel`."""
    match value:
        case bool():
            return str(value).lower()
        case {"External": about}:
            tag = (about or {}).get("tag")
            return f"External:{tag}" if tag else "External"
        case list():
            return ", ".join(map(str, value)) or "-"
        case None | "":
            return "-"
        case _:
            return str(value)


def _seconds(value: Any) -> str:
    return "never" if value is None else f"{value} s"

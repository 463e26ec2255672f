"""What docs/changing.md says of restarts is what the chart renders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart_cases import CASES, NODE, OPERATOR, Case
from tests.support.chart_values import merged, nested

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/changing.md").read_text()
PODS = {"node": NODE, "operator": OPERATOR}
REFUSED = {"network.nodePrefixLength", "network.nodePrefixLengthV6", "network.ipam.mode"}

Render = Callable[..., dict[str, dict[str, Any]]]


def rows() -> dict[str, str]:
    """What the page says is restarted, by the path of a value or of a section."""
    found = {}
    for line in re.findall(r"^\| `.*$", PAGE, re.MULTILINE):
        paths, restarts, _ = (cell.strip() for cell in line.strip("|").split(" | "))
        found |= dict.fromkeys(re.findall(r"`([\w.]+)`", paths), restarts)
    return found


def written(path: str) -> str:
    """The row of a value, or else that of the nearest section above it."""
    known, parts = rows(), path.split(".")
    return next(known[above] for n in range(len(parts), 0, -1) if (above := ".".join(parts[:n])) in known)


def template(objects: dict[str, dict[str, Any]], name: str) -> Any:
    return objects[name]["spec"]["template"]


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.path)
def test_the_page_names_the_pods_that_a_value_restarts(render: Render, one: Case) -> None:
    """D3: Most network values restart nothing; clusterCIDRs and multicast restart the node Pods."""
    before, after = render(one.needs), render(merged(one.needs, nested(one.path, one.value)))
    if one.path.startswith("apiServer."):
        before = render({})  # Both of them or none.
    changed = [which for which, name in PODS.items() if template(before, name) != template(after, name)]
    assert written(one.path) == (", ".join(changed) or "none")


def test_every_row_is_about_a_value() -> None:
    paths = {one.path for one in CASES}
    assert not [row for row in rows() if not any(f"{path}.".startswith(f"{row}.") for path in paths)]
    assert all(written(path) == "none" for path in REFUSED)

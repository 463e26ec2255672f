"""The chart's alerts and dashboards, and the programs of Prometheus, built where they are not yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from quilt_devcluster import binaries
from quilt_devcluster.tools import PROMETHEUS

FILES = Path(__file__).parents[2] / "helm/quilt-mesh/files"
ALERTS = FILES / "alerts.yaml"


def program(name: str) -> Path:
    """Return `prometheus` or `promtool`."""
    return binaries.build(PROMETHEUS, lambda _: None) / name


def rules() -> list[dict[str, Any]]:
    """Return the chart's rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Return what the panels of all dashboards ask, by dashboard, panel and legend."""
    found = {}
    for path in sorted(FILES.glob("dashboards/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']}: {target['legendFormat']}"] = target["expr"]
    return found

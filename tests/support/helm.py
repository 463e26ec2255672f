"""What Helm makes of the chart, without a cluster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm/quilt-mesh"
CONNECTIVITY = "helm/quilt-mesh/files/connectivity.py"
"""The program behind `helm test`."""

Json = dict[str, Any]


class Helm:
    """Runs Helm in a home of its own."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program = program
        self._environment = {f"HELM_{name}_HOME": str(home) for name in ("CACHE", "CONFIG", "DATA")}

    def run(self, *arguments: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
        """Run it with values of the user's, by standard input."""
        command = [str(self._program), *arguments, *(("-f", "-") if values else ())]
        text = json.dumps(values) if values else None
        return subprocess.run(command, input=text, capture_output=True, text=True, env=self._environment)

    def template(
        self,
        values: Json | None = None,
        chart: Path = CHART,
        release: str = "quilt",
        namespace: str = "quilt-system",
    ) -> str:
        """Return what `helm template` prints; fails with Helm's own words."""
        done = self.run("template", release, str(chart), "-n", namespace, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self, values: Json | None = None, **settings: Any) -> dict[str, Json]:
        """Return the rendered objects by `Kind/name`, with `/namespace` where several have the name."""
        found: dict[str, Json] = {}
        for item in yaml.safe_load_all(self.template(values, **settings)):
            if item:
                name = f"{item['kind']}/{item['metadata']['name']}"
                key = name if name not in found else f"{name}/{item['metadata']['namespace']}"
                found[key] = item
        return found

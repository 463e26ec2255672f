"""Reading the folder of a chart, and values that were given to a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from quilt_cli.core.chart import Chart, schema_of
from quilt_cli.core.finding import StoppedError
from quilt_crds.names import VERSION

# What `helm get values` prints before them, unless it is asked for YAML.
_TITLE = "USER-SUPPLIED VALUES"


def read_chart(folder: Path) -> Chart:
    """Read an unpacked chart; StoppedError where it is not one of Quilt Mesh."""
    try:
        about = yaml.safe_load((folder / "Chart.yaml").read_text())
        templates = sorted((folder / "templates/crds").glob("*.yaml"))
        # Braces of the descriptions stand there as an action of Helm's.
        crds = [yaml.safe_load(path.read_text().replace('{{ "{{" }}', "{{")) for path in templates]
        schemas = {crd["metadata"]["name"]: schema_of(crd, VERSION) for crd in crds}
        values = json.loads((folder / "values.schema.json").read_text())
        return Chart(str(about["version"]), schemas, values)
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        todo = "give the unpacked folder: helm/quilt-mesh, or what helm pull --untar leaves"
        raise StoppedError(f"{folder} is not a chart of Quilt Mesh: {error}\n    → {todo}") from error


def read_values(file: Path) -> dict[str, Any]:
    """Read values as YAML, `-` from standard input; StoppedError where they are none."""
    try:
        with click.open_file(str(file), encoding="utf-8") as stream:
            found = yaml.safe_load(stream) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StoppedError(f"{file} cannot be read as values: {error}") from error
    if not isinstance(found, dict):
        raise StoppedError(f"{file} holds no values: helm get values quilt -n quilt-system -o yaml")
    return {name: value for name, value in found.items() if name != _TITLE}

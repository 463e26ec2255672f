"""Write what follows from the models, or check that it is up to date.

The chart's CRD templates, the schema of its `network` values, and the API reference.

The CRDs are templates and not in the chart's `crds/` folder, because Helm installs that folder once and never
upgrades it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from quilt_crds.chart_schema import with_network
from quilt_crds.definition import Definition
from quilt_crds.definitions import DEFINITIONS
from quilt_crds.reference import reference

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path("helm/quilt-mesh/templates/crds")
VALUES_SCHEMA = Path("helm/quilt-mesh/values.schema.json")
REFERENCE = Path("docs/crds.md")
_HEADER = "# Generated from crds/quilt_crds by `python -m quilt_crds.generate`; edit the models instead.\n"


def render(definition: Definition) -> str:
    """The Helm template of one CRD."""
    text = yaml.safe_dump(definition.wire(), sort_keys=False, width=110, allow_unicode=True)
    # Helm would take these for an action of its own.
    return _HEADER + text.replace("{{", '{{ "{{" }}')


def render_all(root: Path) -> dict[Path, str]:
    """What every generated file under `root` should hold."""
    templates = {
        root / TEMPLATES / f"{definition.resource.plural}.yaml": render(definition)
        for definition in DEFINITIONS
    }
    schema = root / VALUES_SCHEMA
    return templates | {root / REFERENCE: reference(), schema: with_network(schema.read_text())}


def stale_files(wanted: dict[Path, str], root: Path) -> list[Path]:
    """Files that differ from `wanted` or are missing, and templates of kinds that are no more."""
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    return differing + sorted(path for path in (root / TEMPLATES).glob("*.yaml") if path not in wanted)


def main(arguments: list[str] | None = None) -> int:
    """Command line; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m quilt_crds.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a file is out of date"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="top of the source tree")
    options = parser.parse_args(arguments)
    wanted = render_all(options.root)
    stale = stale_files(wanted, options.root)
    if options.check:
        for path in stale:
            sys.stderr.write(f"{path} is out of date; run: python -m quilt_crds.generate\n")
        return 1 if stale else 0
    for path in stale:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
        sys.stdout.write(f"{path.relative_to(options.root)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

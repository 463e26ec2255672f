"""The chart's README, its table in the documentation, its icon and what a catalog reads are up to date."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import yaml

from quilt_crds.definitions import DEFINITIONS

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm/quilt-mesh"
# As `ct lint` has it: neither the length of lines nor where a document starts, lists indented or not.
LINT = """
extends: default
rules:
  line-length: disable
  document-start: disable
  indentation: {spaces: consistent, indent-sequences: whatever}
"""
TEXT = {"type": "string", "minLength": 1}
LINKS = {"type": "array", "items": {**TEXT, "pattern": "^https://"}, "minItems": 1}
MAINTAINER = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {"name": TEXT},
}
HEAD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "name", "version", "description", "home", "maintainers"],
    "properties": {
        "apiVersion": {"const": "v2"},
        "name": {"const": "quilt-mesh"},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$"},
        "home": LINKS["items"],
        "sources": LINKS,
        "maintainers": {"type": "array", "items": MAINTAINER, "minItems": 1},
        "keywords": {"type": "array", "items": TEXT},
        "annotations": {"type": "object", "additionalProperties": TEXT},
        **dict.fromkeys(("description", "type", "appVersion", "kubeVersion", "icon"), TEXT),
    },
}


def test_what_is_made_from_the_values_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts/values.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_chart_has_what_catalogs_and_chart_testing_ask_for() -> None:
    """What `ct lint` checks by default beside `helm lint`: the fields of Chart.yaml, both files' form."""
    jsonschema.validate(yaml.safe_load((CHART / "Chart.yaml").read_text()), HEAD)
    files = [CHART / "Chart.yaml", CHART / "values.yaml"]
    command = [sys.executable, "-m", "yamllint", "--strict", "-d", LINT, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_icon_is_a_picture_with_a_name() -> None:
    icon = yaml.safe_load((CHART / "Chart.yaml").read_text())["icon"]
    kind, _, data = icon.partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ET.fromstring(base64.b64decode(data))
    assert root[0].tag.endswith("title")


def test_the_catalog_lists_every_kind() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    named = [item["name"] for item in yaml.safe_load(annotations["artifacthub.io/crds"])]
    assert sorted(named) == sorted(definition.resource.crd_name for definition in DEFINITIONS)
    for example in yaml.safe_load(annotations["artifacthub.io/crdsExamples"]):
        assert example["kind"] in {definition.resource.kind for definition in DEFINITIONS}


def test_the_version_is_one() -> None:
    """Chart, images (by the chart's appVersion), programs and package have the version of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert set(re.findall(r"quilt-mesh-(?:node|operator):([\d.]+\d)", (ROOT / "README.md").read_text())) == {
        version
    }
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_version_is_set_in_one_place(tmp_path: Path) -> None:
    """Another version in pyproject.toml is the chart's after `make generate`."""
    for name in ("docs", "helm", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(re.sub(r'(?m)^version = ".*"$', 'version = "7.8.9"', text))
    subprocess.run([sys.executable, str(tmp_path / "scripts/values.py")], check=True)
    chart = yaml.safe_load((tmp_path / "helm/quilt-mesh/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == ("7.8.9", "7.8.9")


def test_forms_for_issues_are_valid() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        fields = [item for item in form.get("body", ()) if item["type"] != "markdown"]
        assert len({item["id"] for item in fields}) == len(fields)
        assert path.name == "config.yml" or (form["name"] and form["description"] and fields)

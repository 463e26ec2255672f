"""The documentation against the project: values and their defaults, links, flags, metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from quilt_crds import names

ROOT = Path(__file__).parents[3]
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
WHOLE = {"requests", "seLinuxOptions", "labels"}


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in WHOLE:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def test_every_value_of_the_chart_is_documented_with_its_default() -> None:
    values = yaml.safe_load((ROOT / "helm/quilt-mesh/values.yaml").read_text())
    documented = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", CONFIGURATION, re.MULTILINE))
    wanted = {
        path: (value or '""') if isinstance(value, str) else json.dumps(value)
        for path, value in leaves(values)
    }
    assert documented == wanted


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    broken = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert broken == []


@pytest.mark.parametrize("name", ["architecture.svg", "packet-walk.svg"])
def test_pictures_are_whole_and_say_what_they_show(name: str) -> None:
    root = ET.parse(ROOT / "docs" / name).getroot()
    tags = [element.tag.rpartition("}")[2] for element in root]
    assert tags[:2] == ["title", "desc"]


def test_ports_are_the_ones_of_the_code() -> None:
    for port in (
        names.VXLAN_PORT,
        names.AGENT_HEALTH_PORT,
        names.RUNTIME_HEALTH_PORT,
        names.OPERATOR_HEALTH_PORT,
    ):
        assert str(port) in CONFIGURATION
        assert str(port) in (ROOT / "README.md").read_text()


def test_metrics_that_are_documented_exist() -> None:
    sources = "".join(
        (ROOT / path).read_text()
        for path in (
            "nodeagent/quilt_nodeagent/metrics.py",
            "runtime/quilt_runtime/metrics.py",
            "runtime/quilt_runtime/kernel/counters.py",
            "operator/quilt_operator/metrics.py",
        )
    )
    documented = set(re.findall(r"quilt_(?:agent|runtime|operator)_[a-z_]+", CONFIGURATION))
    missing = [name for name in documented if f'"{name.removesuffix("_total")}' not in sources]
    assert missing == []


def test_folders_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for name in re.findall(r"^([a-z]+/(?:quilt[_a-z-]+/)?)", text, re.MULTILINE):
        assert (ROOT / name).is_dir(), name
    for name in re.findall(r"`((?:crds|nodeagent|operator|runtime)/[\w/]+\.py)`", text):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("name", ["architecture.md", "where.md"])
def test_files_and_tests_that_a_guide_names_exist(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*")]
    named = re.findall(r"`([\w/.-]+\.(?:py|proto|yaml|json|md))`", text)
    assert [path for path in named if not any(file.endswith(f"/{path}") for file in files)] == []
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert [test for test in re.findall(r"`(test_\w+)`", text) if f"def {test}(" not in tests] == []


def test_decisions_are_numbered_in_order() -> None:
    files = sorted((ROOT / "docs/decisions").glob("0*.md"))
    numbers = [int(path.name[:4]) for path in files]
    assert numbers == list(range(1, len(files) + 1))
    for path, number in zip(files, numbers, strict=True):
        first, *rest = path.read_text().splitlines()
        assert first.startswith(f"# {number}. ")
        assert {"**Context.**", "**Decision.**", "**Consequences.**"} <= set(
            re.findall(r"^\*\*\w+\.\*\*", "\n".join(rest), re.MULTILINE)
        )


def test_the_clean_up_manifest_has_no_right_it_does_not_need() -> None:
    documents = list(yaml.safe_load_all((ROOT / "docs/cleanup.yaml").read_text()))
    pod = documents[1]["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        capabilities = container["securityContext"]["capabilities"]
        assert capabilities["drop"] == ["ALL"]
        assert set(capabilities.get("add", ())) <= {"NET_ADMIN"}

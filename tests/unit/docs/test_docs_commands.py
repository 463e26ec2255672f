"""Commands of the pages: programs, subcommands, flags, targets and names of objects exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from quilt_cli.main import cli
from quilt_crds.definitions import DEFINITIONS
from quilt_devcluster import product
from tests.support.fresh import NEWER_PYTHON
from tests.support.pages import ROOT, Command, blocks, commands

COMMANDS = [one for one in commands() if "…" not in one.words]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
TARGETS = {stage for _, stage in re.findall(r"^FROM (\S+) AS ([\w-]+)$", CONTAINERFILE, re.MULTILINE)}
ARGUMENTS = dict(re.findall(r"^ARG (\w+)=(\S+)$", CONTAINERFILE, re.MULTILINE))
OURS = {
    name
    for definition in DEFINITIONS
    for name in (definition.resource.plural, definition.resource.kind.lower())
} | {"quilt"}


def of(*programs: str) -> list[Command]:
    return [one for one in COMMANDS if one.words[0] in programs]


def ctl() -> Iterator[tuple[Command, list[str]]]:
    """The arguments of each `quiltctl`, and of `kubectl quilt`, which is the same program."""
    for one in of("quiltctl", "kubectl"):
        if one.words[0] == "quiltctl":
            yield one, list(one.words[1:])
        elif one.words[1:2] == ("quilt",):
            yield one, list(one.words[2:])


def parse(arguments: list[str]) -> None:
    """Parse as the program does, and run nothing; click's exceptions name what does not exist."""
    command: click.Command = cli
    context = click.Context(cli, info_name="quiltctl")
    while True:
        _, arguments, _ = command.make_parser(context).parse_args(list(arguments))
        if not isinstance(command, click.Group) or not arguments:
            return
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"no command {name}"
        command, context = found, click.Context(found, parent=context, info_name=name)


def test_every_quiltctl_command_of_a_page_exists() -> None:
    found = list(ctl())
    assert len(found) > 50
    for one, arguments in found:
        try:
            parse(arguments)
        except (click.UsageError, AssertionError) as error:
            pytest.fail(f"{one}: {error}")


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--node"], ["connectivity", "tests"]])
def test_a_command_that_does_not_exist_is_found(arguments: list[str]) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(arguments)


def test_kinds_that_kubectl_is_to_ask_for_exist() -> None:
    """`quiltnodes`, `quiltnode/NAME`, `crd/quiltnodes.quilt.io`, `quiltnetwork.spec`."""
    for one in of("kubectl"):
        for word in one.words[1 : one.words.index("--") if "--" in one.words else None]:
            # What is no kind: the Secret, the objects and namespaces that have `quilt-` in their names.
            kinds = re.findall(r"(?<![\w.-])quilt[a-z]*(?![\w-])", word)
            assert set(kinds) <= OURS, str(one)


def test_targets_scripts_and_extras_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {target for line in targets for target in line.split()}
    for one in of("make"):
        assert {word for word in one.words[1:] if "=" not in word} <= known, str(one)
    for one in of("python"):
        if one.words[1] == "-m":
            assert find_spec(one.words[2]), str(one)
        elif one.words[1] != "-c":
            assert (ROOT / one.words[1]).is_file(), str(one)
    for one in of("pip"):
        extras = re.findall(r"\[(.*?)\]", " ".join(one.words))
        assert set(extras) <= set(PROJECT["optional-dependencies"]), str(one)


@pytest.mark.parametrize("program", ["quilt-agent", "quilt-operator", "quilt-runtime"])
def test_flags_of_a_process_that_the_page_names_exist(program: str) -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    (row,) = re.findall(rf"^\| `{program}` \| (`--.*) \|$", page, re.MULTILINE)
    module = PROJECT["scripts"][program].partition(".")[0]
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", done.stdout))
    assert set(re.findall(r"`(--[a-z-]+)`", row)) <= known


def test_a_manifest_runs_programs_that_the_image_has() -> None:
    """The command line has one name in the image, as on a terminal."""
    folder = ROOT / "docs"
    for path in folder.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            for container in containers(document):
                program = container["command"][0]
                assert program in {*PROJECT["scripts"], "sleep"}, f"{path}: {program}"


def containers(item: Any) -> Iterator[dict[str, Any]]:
    """Every container of a manifest, wherever it is."""
    if isinstance(item, dict):
        for key, value in item.items():
            yield from value if key in ("containers", "initContainers") else containers(value)
    elif isinstance(item, list):
        for value in item:
            yield from containers(value)


def manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    for page, text in blocks("yaml"):
        for document in yaml.safe_load_all(text):
            if str(document.get("apiVersion", "")).startswith("quilt.io/"):
                yield page, document


def test_objects_of_the_mesh_on_pages_are_valid() -> None:
    kinds = {definition.resource.kind: definition for definition in DEFINITIONS}
    for page, document in manifests():
        definition = kinds[document["kind"]]
        assert definition.model.model_validate_json(json.dumps(document)), page
        jsonschema.validate(document, definition.schema())


def test_images_are_built_in_tests_as_pages_tell_to_build_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D13: The same file and targets; only the three bases differ, and their Python is tested as well."""
    documented = [one for one in commands() if one.words[:2] in (("docker", "build"), ("buildah", "build"))]
    assert documented
    assert all(one.words[one.words.index("--target") + 1] in product.TARGETS for one in documented)
    assert set(product.TARGETS) <= TARGETS
    asked: list[str] = []
    monkeypatch.setattr(product, "_buildah", lambda *words, **_: asked.extend(map(str, words)) or "")
    monkeypatch.setattr(product, "_base", lambda kind, _: f"base-{kind}")
    monkeypatch.setattr(product, "_volumes", list)
    monkeypatch.setattr(Path, "rename", lambda *_: None)
    product.build_one(ROOT, "node", "name", {"runtime": tmp_path, "tools": tmp_path}, tmp_path / "node.tar")
    assert f"--file={ROOT / 'Containerfile'}" in asked
    given = {word.split("=")[1] for word in asked if word.startswith("--build-arg=")}
    assert given == set(ARGUMENTS)
    base = re.search(r"python:(3\.\d+)", ARGUMENTS["PYTHON_BASE"])
    assert base
    assert f"Python {base[1]}." == NEWER_PYTHON

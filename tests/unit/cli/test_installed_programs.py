"""The programs as a person installs them: with the command line's extra alone, beside other packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from quilt_crds import names

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Calls a program as if some modules were not installed.
CALL = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
absent, module, name, *flags = sys.argv[1].split(","), *sys.argv[2:]
sys.meta_path.insert(0, Absent())
program = getattr(importlib.import_module(module), name)
for flag in flags:
    sys.argv = ["program", flag]
    try:
        program()
    except SystemExit as end:
        print(flag, "ends with", end.code)
"""


def distributions(*extras: str) -> set[str]:
    requirements = [*PROJECT["dependencies"], *(item for extra in extras for item in EXTRAS[extra])]
    return {re.split(r"[<>=\[; ]", requirement)[0] for requirement in requirements}


def absent() -> list[str]:
    """Modules that other extras bring along, and that of the command line does not."""
    lacking = distributions("operator", "agent", "runtime", "devcluster") - distributions("cli")
    owners = packages_distributions()
    return sorted(
        module
        for module, found in owners.items()
        if {name.lower().replace("_", "-") for name in found} & lacking
    )


@pytest.mark.parametrize("program", sorted(PROJECT["scripts"]))
def test_every_program_answers_where_only_the_command_line_is_installed(program: str) -> None:
    """D9: `pip install '.[cli]'` puts all programs on the PATH; none of them answers with a traceback."""
    assert {"aiohttp", "kopf", "grpc", "cryptography"} <= set(absent())
    module, _, name = PROJECT["scripts"][program].partition(":")
    command = [sys.executable, "-c", CALL, ",".join(absent()), module, name, "--help", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ends with 0") == 2
    assert done.stdout.startswith("Usage: ")
    assert version("quilt-mesh") in done.stdout


def test_no_program_has_the_name_of_another_package() -> None:
    """D14: `/usr/bin/quilt` is Debian's, which manages patches."""
    assert all(re.fullmatch(r"kubectl-quilt|quilt(ctl|-\w+)", name) for name in PROJECT["scripts"])


@pytest.mark.parametrize("program", ["quilt-agent", "quilt-operator", "quilt-runtime"])
def test_a_help_shows_each_default_once_and_listens_on_loopback(program: str) -> None:
    """D15: One default for an option, that of the log level too; probes are on 127.0.0.1."""
    module, _, name = PROJECT["scripts"][program].partition(":")
    command = [sys.executable, "-c", CALL, "none", module, name, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = [" ".join(part.split()) for part in re.split(r"\n  (?=-)", text)]
    assert [part for part in options if part.count("[default:") > 1] == []
    (level,) = (part for part in options if part.startswith("--log-level"))
    assert level.endswith("[default: info]")
    port = {
        "quilt-agent": names.AGENT_HEALTH_PORT,
        "quilt-operator": names.OPERATOR_HEALTH_PORT,
        "quilt-runtime": names.RUNTIME_HEALTH_PORT,
    }[program]
    assert any(f"[default: 127.0.0.1:{port}]" in part for part in options)

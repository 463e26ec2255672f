"""The worked examples of docs/where.md: patches that apply, touch few files and pass their tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATCHES = ROOT / "docs" / "examples" / "worked"
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["dev-mode-dirs"]
FAKE_KERNEL = "tests/unit/nodeagent/test_agent_on_fake_kernel.py::TestOnFakeKernel"
# {example: (files that it may edit by hand, its tests)}
EXAMPLES = {
    "vxlan-tos": (
        7,
        (
            f"{FAKE_KERNEL}::test_the_type_of_service_of_the_network_is_the_devices",
            "tests/unit/netlink/test_netlink_messages.py",
            "tests/unit/crds",
            "tests/unit/helm/test_helm_values.py",
        ),
    ),
    "command": (3, ("tests/unit/cli/test_cli_subnets.py", "tests/unit/cli/test_programs.py")),
    "second-overlay": (
        8,
        (
            "tests/unit/nodeagent/test_agent_second_overlay.py",
            "tests/unit/nodeagent/test_agent_core.py",
            "tests/unit/crds",
        ),
    ),
}


def test_every_patch_is_an_example() -> None:
    assert sorted(path.stem for path in PATCHES.iterdir()) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.timeout(900)
def test_a_worked_example_applies_and_passes_its_tests(name: str, tmp_path: Path) -> None:
    most, tests = EXAMPLES[name]
    patch = PATCHES / f"{name}.patch"
    edited = [line for line in patch.read_text().splitlines() if line.startswith("+++ ")]
    assert len(edited) <= most
    tree = tmp_path / "tree"
    copy(tree)
    run(tree, "git", "apply", str(patch))
    run(tree, sys.executable, "-m", "quilt_crds.generate", "--root", str(tree))
    run(tree, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def copy(tree: Path) -> None:
    """Copy what is under version control, as it is now."""
    for name in run(ROOT, "git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def run(folder: Path, *command: str) -> str:
    """Run a program with the packages of a tree; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder / name) for name in PACKAGES)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

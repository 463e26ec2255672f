"""The direction of imports is a rule of the build: it holds, and breaking it is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "crds",
    "delta",
    "kube",
    "proto",
    "netlink",
    "policy",
    "multicast",
    "probes",
    "operator",
    "nodeagent",
    "runtime",
    "cli",
    "devcluster",
)


# What writes a dataplane, or decides what is written.
WRITERS = (
    "netlink/quilt_netlink",
    "multicast/quilt_multicast",
    "multicast/quilt_pim",
    "probes/quilt_probes",
    "nodeagent/quilt_nodeagent",
    "runtime/quilt_runtime",
    "operator/quilt_operator",
)


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(root / package) for package in PACKAGES)
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--config",
        "pyproject.toml",
        "--no-cache",
    ]
    return subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("operator/quilt_operator/offence.py", "import quilt_netlink"),
        ("nodeagent/quilt_nodeagent/offence.py", "import quilt_runtime"),
        ("runtime/quilt_runtime/offence.py", "import kopf"),
        ("crds/quilt_crds/offence.py", "import quilt_operator"),
        ("nodeagent/quilt_nodeagent/core/offence.py", "import socket"),
        ("runtime/quilt_runtime/core/offence.py", "import quilt_netlink"),
        ("nodeagent/quilt_nodeagent/kernel/offence.py", "import quilt_nodeagent.executor.client"),
        ("nodeagent/quilt_nodeagent/offence.py", "import quilt_multicast"),
        ("nodeagent/quilt_nodeagent/offence.py", "import quilt_pods"),
        ("policy/quilt_pods/runtime.py", "import quilt_pods.pod_watch"),
        ("policy/quilt_pods/switch.py", "import quilt_nodeagent.view"),
        ("multicast/quilt_multicast/trouble.py", "import quilt_nodeagent.view"),
        ("multicast/quilt_pim/service.py", "import quilt_nodeagent.core.peers"),
        ("multicast/quilt_pim/core/ring.py", "import quilt_multicast.exchange"),
        ("multicast/quilt_multicast/copies.py", "import quilt_multicast.engine"),
        ("probes/quilt_probes/core/link.py", "import asyncio"),
        ("nodeagent/quilt_nodeagent/agent.py", "import quilt_probes.service"),
        ("operator/quilt_operator/core/offence.py", "import quilt_kube.aio"),
        ("operator/quilt_operator/api/offence.py", "import quilt_operator.world"),
        ("operator/quilt_operator/offence.py", "import quilt_operator.leader"),
    ],
)
def test_a_forbidden_import_fails_the_build(tmp_path: Path, module: str, line: str) -> None:
    assert Path(module).stem in lint_with(tmp_path, {module: line})


def test_what_judges_a_dataplane_shares_no_decoder_with_what_writes_it(tmp_path: Path) -> None:
    judges = ("cli/quilt_cli", "devcluster/quilt_devcluster")
    offences = {f"{path}/offence.py": "import quilt_netlink" for path in judges}
    offences |= {f"{path}/offence.py": "import pyroute2" for path in WRITERS}
    output = lint_with(tmp_path, offences)
    for path, line in offences.items():
        package = Path(path).parent.name
        assert f"{package}.offence -> {line.removeprefix('import ')} (l.2)" in output


def lint_with(folder: Path, offences: dict[str, str]) -> str:
    """What is reported of a copy of our packages with these lines in these files; it must be refused."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__", "tools")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    for path, line in offences.items():
        with (folder / path).open("a") as file:
            file.write(f"\n{line}\n")
    result = lint(folder)
    assert result.returncode == 1, result.stdout
    return result.stdout

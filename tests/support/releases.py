"""Releases of the commit that is checked out, made as `make release` does."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
DIGESTS = f"quilt-mesh-{VERSION}.digests"


def make(registry: str, output: Path, *options: str, environment: Mapping[str, str] | None = None) -> Path:
    """Release to the registry without TLS whose name and path are `registry`; the folder of the files."""
    command = [sys.executable, "-m", "release", VERSION, registry, "--plain-http", f"--output={output}"]
    settings = {**os.environ, **(environment or {})}
    done = subprocess.run([*command, *options], cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return output / VERSION


def digests(files: Path) -> dict[str, str]:
    """{`quilt-mesh-node`: `sha256:…`}, of the chart (`quilt-mesh`) too."""
    found = (line.rpartition("@") for line in (files / DIGESTS).read_text().splitlines())
    return {name.rpartition("/")[2].partition(":")[0]: digest for name, _, digest in found}


def check_sums(files: Path) -> None:
    """Every file has its line in SHA256SUMS, and is what the line says."""
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=files, check=True)
    listed = {line.split()[1] for line in (files / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in files.iterdir()} - {"SHA256SUMS"}

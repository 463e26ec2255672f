"""The command line as a wheel, and as one file for each platform that brings all it needs but Python."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from quilt_devcluster import archive, product
from quilt_devcluster.shell import fetch, run
from release.source import Source

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ENTRY = "quilt_cli.main:main"


def wheel(source: Source, output: Path) -> Path:
    """Build the wheel into the folder `output` and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={output}"]
    run(command, what="Building the wheel", cwd=source.folder, env=source.environment())
    return output / f"quilt_mesh-{source.version}-py3-none-any.whl"


def single_file(source: Source, own: Path, architecture: str, output: Path) -> Path:
    """Write the file for one architecture, of the wheel `own` and what it needs, and return its path."""
    target = output / f"quiltctl-{source.version}-linux-{architecture}.pex"
    with tempfile.TemporaryDirectory() as scratch:
        wheels, cache = Path(scratch) / "wheels", Path(scratch) / "pex"
        wheels.mkdir()
        shutil.copy(own, wheels)
        for python in PYTHONS:
            _download(source, architecture, python, wheels)
        run(
            [
                *(sys.executable, "-m", "pex", "quilt-mesh[cli]", f"--output-file={target}"),
                *("--no-pypi", f"--pre-resolved-dists={wheels}", f"--entry-point={ENTRY}"),
                *(_platform(architecture, python) for python in PYTHONS),
                # Found on the PATH where it runs, whichever of these it is.
                "--python-shebang=/usr/bin/env python3",
            ],
            what=f"Building {target.name}",
            env={**source.environment(), "PEX_ROOT": str(cache)},
        )
    return target


def _download(source: Source, architecture: str, python: str, wheels: Path) -> None:
    """Fetch the wheels that the command line needs, as the lock pins them."""
    asked = [sys.executable, "devcluster/requirements.py", "pyproject.toml", "cli"]
    requirements = run(asked, cwd=source.folder).split()
    fetch(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={wheels}"),
            *("--only-binary=:all:", f"--python-version={python}"),
            *(f"--platform={platform}" for platform in product.wheel_platforms(architecture)),
            *(f"--constraint={source.folder / 'requirements-dev.lock'}", *requirements),
        ],
        what=f"Fetching wheels for Python {python} on {architecture}",
        hint="an architecture needs wheels of everything: nothing is compiled for it here",
    )


def _platform(architecture: str, python: str) -> str:
    return f"--platform=linux_{archive.MACHINES[architecture]}-cp-{python}.0-cp{python.replace('.', '')}"

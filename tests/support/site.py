"""The documents as a site, built as `make docs` builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.pages import ROOT


def build_site(site: Path, project: Path = ROOT) -> tuple[int, str]:
    """Build a project's documents into a folder; mkdocs' exit code, and what it prints."""
    command: list[str | Path] = [sys.executable, "-m", "mkdocs", "build", "--site-dir", site]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=project, env=environment, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr

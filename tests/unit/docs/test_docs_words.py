"""Documents, chart and the folders that are done are in the field's language."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_no_word_to_avoid_is_left() -> None:
    command = [sys.executable, ROOT / "scripts/words.py", "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

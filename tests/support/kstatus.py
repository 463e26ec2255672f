"""What kstatus makes of an object: the library of cli-utils by which Flux and others wait, as a program."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from quilt_devcluster import binaries
from quilt_devcluster.tools import BY_PROGRAM


def kstatus(item: dict[str, Any]) -> str:
    """Return `InProgress`, `Current`, `Failed` or `Terminating`; the program is built where it is not yet."""
    program = binaries.build(BY_PROGRAM["kstatus"], lambda _: None) / "kstatus"
    done = subprocess.run([program], input=json.dumps(item), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

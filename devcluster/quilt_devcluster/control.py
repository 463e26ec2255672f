"""Client side of the supervisor's control socket, and how a supervisor is started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quilt_devcluster import paths
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.procs import Pid, identify

TIMEOUT = 30.0


def request(path: Path, **fields: Any) -> dict[str, Any]:
    """Send one request and return the answer. Raises DevclusterError when refused or nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            connection.sendall(json.dumps(fields).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline() or "{}")
    except (OSError, ValueError) as error:
        raise DevclusterError(
            f"The cluster's supervisor does not answer on {path}: {error}.",
            hint="`quilt-devcluster status`; without its supervisor a cluster can only be taken down",
        ) from error
    if not answer.get("ok"):
        reason = answer.get("error", "it closed the connection")
        raise DevclusterError(f"The supervisor refused {fields.get('op')} {fields.get('name', '')}: {reason}")
    return answer


def start_program(path: Path, name: str, argv: Sequence[str], log: Path) -> None:
    """Have the supervisor run `argv` as `name`, instead of what ran under that name."""
    log.parent.mkdir(parents=True, exist_ok=True)
    request(path, op="start", name=name, argv=list(argv), log=str(log))


def start_supervisor(folder: Path, log: Path) -> Pid:
    """Start the supervisor of the cluster in `folder` and return it once its socket answers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as sink:
        # setsid forks and leaves: the supervisor is nobody's child here, so a long-lived test run gets no
        # zombie.
        subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "quilt_devcluster.supervisor", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd="/",
            env=python_environment(),
            check=True,
        )
    deadline = time.monotonic() + TIMEOUT
    while not (folder / "supervisor.sock").exists():
        if time.monotonic() > deadline:
            raise DevclusterError("The cluster's supervisor did not start.", log=log)
        time.sleep(0.02)
    return identify(request(folder / "supervisor.sock", op="hello")["pid"])


def python_environment() -> dict[str, str]:
    """Return an environment in which a new Python process finds this package, installed or not."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(paths.PACKAGE.parent), *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": path}

"""Run programs: output captured or logged, and a failure that says which command and why."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from quilt_devcluster.errors import DevclusterError

# Seconds before a download is tried again, and once more.
PAUSES = (3.0, 15.0)


def run(
    argv: Sequence[str | Path],
    *,
    what: str = "",
    hint: str = "",
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Run `argv` to its end and return its standard output.

    With `log`, both streams go to that file instead and the answer is empty. `env` is added to this
    process's. Raises DevclusterError with the end of the output when the program is missing, fails or
    exceeds `timeout` seconds.
    """
    text = [str(arg) for arg in argv]
    what = what or f"`{' '.join(text)[:200]}`"
    full_env = {**os.environ, **(env or {})}
    try:
        with _sink(log) as sink:
            done = subprocess.run(
                text, input=stdin, env=full_env, cwd=cwd, timeout=timeout, stdout=sink, stderr=sink, text=True
            )
    except FileNotFoundError as error:
        raise DevclusterError(f"{what} failed: the program {text[0]} is not installed.", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise DevclusterError(f"{what} did not end within {timeout:.0f} s.", hint=hint, log=log) from error
    if done.returncode != 0:
        output = "" if log else f"{done.stdout}{done.stderr}"
        raise DevclusterError(
            f"{what} failed with exit code {done.returncode}.", hint=hint, log=log, output=output
        )
    return done.stdout or ""


@contextmanager
def _sink(log: Path | None) -> Iterator[IO[str] | int]:
    if log is None:
        yield subprocess.PIPE
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        yield sink


def fetch(argv: Sequence[str | Path], **options: Any) -> str:
    """Do as `run` does, up to three times: for what downloads, and resumes where an attempt ended.

    Neither Go nor an image build tries again by itself when one of hundreds of downloads fails.
    """
    for pause in PAUSES:
        try:
            return run(argv, **options)
        except DevclusterError as error:
            click.echo(f"{error.message} Trying again in {pause:g} s.", err=True)
            time.sleep(pause)
    return run(argv, **options)

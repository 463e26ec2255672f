"""`quiltctl backup`: what must survive the loss of the API server's data, in one file."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from quilt_cli.api.read_backup import read_backup
from quilt_cli.commands.options import VERSION, Result, cluster, output
from quilt_cli.core.backup import KINDS, text_of
from quilt_cli.core.finding import StoppedError
from quilt_cli.groups import command
from quilt_kube.sync import Client

_STDOUT = Path("-")


@command("backup", "quiltctl backup -f quilt-backup.yaml", "quiltctl backup > quilt-backup.yaml")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=_STDOUT,
    show_default=True,
    help="Where to; `-` is standard output. A file is for its owner alone, and whole or as it was.",
)
@output
@cluster
def backup(client: Client, *, file: Path) -> Result:
    """Write who has which subnet, and what people decided.

    The QuiltNetwork, all claims, and the spec of each QuiltNode that has one. It holds no secret. Put back by
    `quiltctl restore`.

    Exit code 0: written; 2: it could not be.
    """
    about = {"taken": datetime.now(UTC).isoformat(timespec="seconds"), "quiltctl": VERSION}
    found = read_backup(client, about)
    text = text_of(found)
    if file == _STDOUT:
        return Result(found, lambda _: click.echo(text, nl=False))
    try:
        write(file, text)
    except OSError as error:
        raise StoppedError(f"{file} cannot be written: {error.strerror or error}") from error
    kinds = Counter(item["kind"] for item in found["items"])
    counts = {kind.plural: kinds[kind.kind] for kind in KINDS}

    def draw(out: Console) -> None:
        held = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
        out.print(f"{file}: {held}", markup=False, soft_wrap=True)

    return Result({"kind": "QuiltBackup", "schema": 1, "file": str(file), "objects": counts}, draw)


def write(path: Path, text: str) -> None:
    """Write a file for its owner alone; a reader meanwhile has the former or the whole. OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError:
        with suppress(OSError):
            made.unlink()
        raise

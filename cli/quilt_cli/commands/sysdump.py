"""`quiltctl sysdump`: one archive with what is needed to find a fault, without secrets."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import click
from rich.console import Console

from quilt_cli.api.gather_sysdump import gather
from quilt_cli.api.read_sysdump import Wanted
from quilt_cli.archive_file import Writer
from quilt_cli.commands.options import VERSION, Result, cluster, output, wants_json
from quilt_cli.core.finding import StoppedError
from quilt_cli.core.sysdump import Index, findings
from quilt_cli.groups import command
from quilt_cli.output import console, print_findings, progress
from quilt_kube.access import Access
from quilt_kube.sync import Client

_MIB = 1 << 20
_STDOUT = Path("-")


@command(
    "sysdump",
    "quiltctl sysdump",
    "quiltctl sysdump --node worker-1 --node worker-2",
    "quiltctl sysdump -f - > sysdump.tar.gz",
    "quiltctl status --from quilt-sysdump-production-20260101T120000Z.tar.gz",
    "quiltctl trace shop/web-1 shop/db-0 --from quilt-sysdump-production-20260101T120000Z.tar.gz",
)
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where to; `-` is standard output.  [default: quilt-sysdump-CLUSTER-TIME.tar.gz]",
)
@click.option("--node", "nodes", multiple=True, help="Kernels and logs of this node alone; repeatable.")
@click.option("--log-size", type=click.IntRange(1), default=2, show_default=True, help="MiB of each log.")
@click.option(
    "--max-size", type=click.IntRange(1), default=1024, show_default=True, help="MiB of all files, unpacked."
)
@output
@cluster
def sysdump(
    client: Client, *, file: Path | None, nodes: tuple[str, ...], log_size: int, max_size: int
) -> Result:
    """Write one archive with what is needed to find a fault.

    Objects, Events, Leases, logs, and of each node its kernel's network, metrics, latency and what
    `quiltctl check node` finds. Nodes are asked side by side; what one does not answer is named. Secrets,
    tokens and environments are left out. Read it by `--from` of `quiltctl status`, `check`, `trace` and
    `latency`.

    Exit code 0: complete; 1: something is missing; 2: it could not be written.
    """
    if file == _STDOUT and wants_json():
        raise StoppedError("with `-f -` standard output is the archive: `-o json` needs a file")
    taken = datetime.now(UTC)
    folder = f"quilt-sysdump-{_cluster(client.access)}-{taken:%Y%m%dT%H%M%SZ}"
    path = file or Path(f"{folder}.tar.gz")
    wanted = Wanted(frozenset(nodes), log_size * _MIB, max_size * _MIB)
    about = Index(
        taken=taken.isoformat(timespec="seconds"),
        quiltctl=VERSION,
        server=client.access.server,
        context=client.access.context,
    )
    try:
        with progress() as tell, _opened(path) as out, Writer.opened(out, folder) as writer:
            index = gather(client.access, writer, wanted, about, tell)
    except OSError as error:
        raise StoppedError(f"{path} cannot be written: {error.strerror or error}") from error
    return _answer(path, index)


def _answer(path: Path, index: Index) -> Result:
    lacking = findings(index.missing)
    document = {
        "kind": "QuiltSysdump",
        "schema": 1,
        "file": str(path),
        "complete": not lacking,
        "nodes": sorted(index.nodes.values()),
        "findings": lacking,
    }

    def draw(out: Console) -> None:
        # Standard output may be the archive.
        out = console(stderr=True) if path == _STDOUT else out
        print_findings(out, lacking)
        state = "not complete" if lacking else "complete"
        out.print(f"{path}: {len(index.nodes)} nodes, {state}", markup=False, soft_wrap=True)

    return Result(document, draw, index.exit_code)


def _cluster(access: Access) -> str:
    """What people call the cluster, as a part of a file's name."""
    name = access.context or urlsplit(access.server).hostname or "cluster"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:60]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A stream to a file for its owner alone, which has its name once it is whole. Raises OSError."""
    if path == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        made.replace(path)
    finally:
        with suppress(OSError):
            made.unlink()

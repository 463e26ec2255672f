"""`quiltctl restore`: every node gets the subnet that it had when the backup was taken."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from quilt_cli.api.restoring import carry_out, read_settled
from quilt_cli.commands.options import Result, cluster, output, wants_json
from quilt_cli.core.backup_file import parse
from quilt_cli.core.finding import (
    EXIT_HEALTHY,
    EXIT_PROBLEMS,
    CannotTellError,
    StoppedError,
    healthy,
    worst_first,
)
from quilt_cli.core.restore import Plan, plan
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.groups import command
from quilt_cli.output import console, print_findings, print_table, progress
from quilt_crds.names import OPERATOR_DEPLOYMENT
from quilt_kube.sync import Client


@command(
    "restore",
    "quiltctl restore quilt-backup.yaml --dry-run",
    "quiltctl restore quilt-backup.yaml",
    "ssh vault cat quilt-backup.yaml | quiltctl restore -",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--skip-conflicts", is_flag=True, help="Leave out what conflicts, and restore the rest.")
@output
@cluster
def restore(client: Client, *, file: Path, dry_run: bool, skip_conflicts: bool) -> Result:
    """Put back what `quiltctl backup` wrote to FILE.

    Creates what is missing and replaces nothing. The CRDs must be there, and the operator must not run, as it
    gives nodes without a claim other subnets.

    Where a subnet is another node's by now, or overlaps one, nothing at all is written.

    Exit code 0: all is there; 1: something conflicts or was refused; 2: the file or the cluster cannot be
    used.
    """
    backup = parse(_text(file), str(file))
    cluster = _read(client)
    found = plan(backup, cluster, skip=skip_conflicts)
    out = console(stderr=wants_json())
    _show(found, out)
    refused: Mapping[str, str] = {}
    written = not dry_run and healthy(found.findings)
    if written and found.steps:
        with progress() as tell:
            refused = carry_out(client, found.steps, tell)
    well = healthy(found.findings) and not refused
    document = _document(file, found, refused, dry_run=dry_run, written=written)
    draw = partial(_draw, found, refused, cluster, written=written, dry_run=dry_run)
    return Result(document, draw, EXIT_HEALTHY if well else EXIT_PROBLEMS)


def _text(file: Path) -> str:
    try:
        with click.open_file(str(file), encoding="utf-8") as stream:
            return str(stream.read())
    except (OSError, UnicodeDecodeError) as error:
        raise StoppedError(f"{file} cannot be read: {error}") from error


def _read(client: Client) -> Snapshot:
    found = read_settled(client)
    if not found.installed:
        raise CannotTellError(
            "the API server knows no quilt.io kinds, and nothing was written\n"
            "    → apply the CRDs first: docs/backup.md has the command"
        )
    for kind in ("deployments", "pods"):
        if why := found.unreadable.get(kind):
            raise CannotTellError(f"whether the operator runs, and nothing was written: {why}")
    return found


def _show(found: Plan, out: Console) -> None:
    if found.steps:
        rows = [(step.about, step.node or "-") for step in found.steps]
        print_table(out, ("TO WRITE", "NODE"), rows)
        out.print()
    print_findings(out, worst_first(found.findings)[::-1])


def _document(
    file: Path, found: Plan, refused: Mapping[str, str], *, dry_run: bool, written: bool
) -> dict[str, Any]:
    steps = [
        {
            "object": step.about,
            "node": step.node,
            "written": written and step.about not in refused,
            "error": refused.get(step.about, ""),
        }
        for step in found.steps
    ]
    return {
        "kind": "QuiltRestore",
        "schema": 1,
        "file": str(file),
        "dryRun": dry_run,
        "healthy": healthy(found.findings) and not refused,
        "equal": found.equal,
        "steps": steps,
        "findings": worst_first(found.findings),
    }


def _draw(
    found: Plan,
    refused: Mapping[str, str],
    cluster: Snapshot,
    out: Console,
    *,
    written: bool,
    dry_run: bool,
) -> None:
    for about, why in refused.items():
        out.print(f"✗ {about}: {why}", markup=False, style="bold red", soft_wrap=True)
    total, equal = len(found.steps), f"{found.equal} are there already"
    if written:
        out.print(f"{total - len(refused)} of {total} objects written, {equal}", soft_wrap=True)
    elif dry_run:
        out.print(f"{total} objects to write, {equal}; nothing was written", soft_wrap=True)
    else:
        out.print("nothing was written: resolve what conflicts, or leave it out by --skip-conflicts")
    if written and not refused and cluster.operator is not None and not cluster.operator.wanted:
        scale = f"kubectl -n {cluster.release_namespace} scale deployment {OPERATOR_DEPLOYMENT}"
        out.print(f"    → {scale} --replicas=2, then quiltctl status", style="cyan", soft_wrap=True)

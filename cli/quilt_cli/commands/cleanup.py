"""`quiltctl cleanup`: after `helm uninstall`, make a node as it was before Quilt Mesh."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from quilt_cli.commands.options import FOLDER, Result, cni_conf_dir, output, run_dir, wants_json
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS, StoppedError
from quilt_cli.groups import command
from quilt_cli.kernel.host import answers, cni_folder
from quilt_cli.kernel.leftovers import Leftover, Places, find, foreign_plugins
from quilt_cli.kernel.netlink import opened
from quilt_cli.output import console
from quilt_crds.names import VXLAN_DEVICE


@command("cleanup", "quiltctl cleanup --dry-run", "quiltctl cleanup --yes -o json")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also while quilt-runtime still runs on this node.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True, help="Name of the VXLAN device.")
@cni_conf_dir
@click.option(
    "--cni-bin-dir",
    "cni_bin",
    type=FOLDER,
    default=partial(cni_folder, "opt/cni/bin"),
    help="Default: /opt/cni/bin, of the host where mounted.",
)
@click.option(
    "--cni-src-dir",
    "cni_source",
    type=FOLDER,
    default="/opt/quilt/cni",
    show_default=True,
    help="Plugins as installed by us: loopback, portmap and bandwidth go only where they equal these.",
)
@run_dir
@output
def cleanup(*, dry_run: bool, yes: bool, force: bool, **flags: Any) -> Result:
    """Remove what Quilt Mesh left on THIS node.

    Links, routes, nexthops, the nftables tables, CNI files and state. Run it as root, after `helm uninstall`.
    Pods that still run on the mesh lose their network.
    """
    places = Places(**flags)
    if os.geteuid() != 0 and not dry_run:
        raise StoppedError("run it as root: it removes network devices and files of the host")
    if answers(places.run / "runtime.sock") and not force and not dry_run:
        raise StoppedError(
            "quilt-runtime still runs on this node and would set everything up again\n"
            "    → helm uninstall quilt -n quilt-system"
        )
    try:
        with opened() as kernel:
            return _work(find(kernel, places), foreign_plugins(places), dry_run=dry_run, ask=not yes)
    except OSError as error:
        raise StoppedError(f"the kernel's state cannot be read: {error}") from error


def _work(found: Sequence[Leftover], kept: Sequence[str], *, dry_run: bool, ask: bool) -> Result:
    # Progress is no answer for programs.
    out = console(stderr=wants_json())
    for item in found:
        out.print(f"  {item.what}", soft_wrap=True)
    if not found:
        out.print("nothing of Quilt Mesh is on this node")
    elif ask and not dry_run:
        click.confirm("Remove all of this?", abort=True, err=wants_json())
    problems = ["" if dry_run else item.remove() for item in found]
    for item, problem in zip(found, problems, strict=True):
        if problem:
            out.print(f"[bold red]✗[/] {item.what} stays: {problem}", soft_wrap=True)
    if kept:
        out.print(f"[dim]kept, as others may use them: CNI plugins {', '.join(kept)}[/]")
    if found and not dry_run and not any(problems):
        out.print("[green]✓[/] removed")
    leftovers = [
        {"kind": item.kind, "what": item.what, "removed": not dry_run and not problem, "error": problem}
        for item, problem in zip(found, problems, strict=True)
    ]
    document = {"kind": "QuiltCleanup", "schema": 1, "leftovers": leftovers, "kept": kept}
    return Result(document, lambda _: None, EXIT_PROBLEMS if any(problems) else EXIT_HEALTHY)

"""`quiltctl cleanup`: after `helm uninstall`, make a node as it was before Quilt Mesh."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from quilt_cli.commands.options import leave, output
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS
from quilt_cli.groups import command
from quilt_cli.kernel.leftovers import Leftover, Places, find, foreign_plugins
from quilt_cli.kernel.netlink import opened
from quilt_cli.kernel.places import cni_folder
from quilt_cli.output import console, print_json
from quilt_crds.names import VXLAN_DEVICE

_FOLDER = click.Path(path_type=Path)


@command("cleanup", "quiltctl cleanup --dry-run", "quiltctl cleanup --yes -o json")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also while quilt-runtime still runs on this node.")
@click.option("--device", default=VXLAN_DEVICE, show_default=True, help="Name of the VXLAN device.")
@click.option("--cni-conf-dir", type=_FOLDER, help="Default: /etc/cni/net.d, of the host where mounted.")
@click.option("--cni-bin-dir", type=_FOLDER, help="Default: /opt/cni/bin, of the host where mounted.")
@click.option(
    "--cni-src-dir",
    type=_FOLDER,
    default="/opt/quilt/cni",
    show_default=True,
    help="Plugins as installed by us: loopback, portmap and bandwidth go only where they equal these.",
)
@click.option("--run-dir", type=_FOLDER, default="/run/quilt", show_default=True)
@output
def cleanup(
    *,
    dry_run: bool,
    yes: bool,
    force: bool,
    device: str,
    cni_conf_dir: Path | None,
    cni_bin_dir: Path | None,
    cni_src_dir: Path,
    run_dir: Path,
    as_json: bool,
) -> None:
    """Remove what Quilt Mesh left on THIS node.

    Links, routes, nexthops, the nftables tables, CNI files and state. Run it as root, after `helm uninstall`.
    Pods that still run on the mesh lose their network.
    """
    places = Places(
        cni_conf_dir or cni_folder("etc/cni/net.d"),
        cni_bin_dir or cni_folder("opt/cni/bin"),
        cni_src_dir,
        run_dir,
        device,
    )
    if os.geteuid() != 0 and not dry_run:
        _refuse("run it as root: it removes network devices and files of the host")
    if _answers(run_dir / "runtime.sock") and not force and not dry_run:
        _refuse(
            "quilt-runtime still runs on this node and would set everything up again\n"
            "    → helm uninstall quilt -n quilt-system"
        )
    try:
        with opened() as kernel:
            _work(find(kernel, places), foreign_plugins(places), dry_run, yes, as_json)
    except OSError as error:
        _refuse(f"the kernel's state cannot be read: {error}")


def _work(found: list[Leftover], kept: list[str], dry_run: bool, yes: bool, as_json: bool) -> None:
    out = console(stderr=as_json)
    for item in found:
        out.print(f"  {item.what}", soft_wrap=True)
    if not found:
        out.print("nothing of Quilt Mesh is on this node")
    elif not dry_run and not yes:
        click.confirm("Remove all of this?", abort=True, err=as_json)
    results = [] if dry_run else [(item, item.remove()) for item in found]
    failed = [(item, problem) for item, problem in results if problem]
    for item, problem in failed:
        out.print(f"[bold red]✗[/] {item.what} stays: {problem}", soft_wrap=True)
    if kept:
        out.print(f"[dim]kept, as others may use them: CNI plugins {', '.join(kept)}[/]")
    if results and not failed:
        out.print("[green]✓[/] removed")
    if as_json:
        problems = {item.what: problem for item, problem in failed}
        entries = [
            {
                "kind": item.kind,
                "what": item.what,
                "removed": not dry_run and item.what not in problems,
                "error": problems.get(item.what, ""),
            }
            for item in found
        ]
        print_json({"kind": "QuiltCleanup", "schema": 1, "leftovers": entries, "kept": kept})
    leave(EXIT_PROBLEMS if failed else EXIT_HEALTHY)


def _answers(path: Path) -> bool:
    """Whether a process listens on a socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(str(path))
    except OSError:
        return False
    return True


def _refuse(message: str) -> None:
    console(stderr=True).print(f"[bold red]✗[/] {message}", soft_wrap=True)
    leave(EXIT_CANNOT_TELL)

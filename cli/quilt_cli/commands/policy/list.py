"""`quiltctl policy list`: all policies, whom they hold for, and what of them cannot be applied."""

from __future__ import annotations

from functools import partial

from rich.console import Console

from quilt_cli.api.read_policies import policies
from quilt_cli.commands.options import Result, cluster, output
from quilt_cli.core.policies import Row, rows
from quilt_cli.groups import command
from quilt_cli.output import print_table
from quilt_kube.sync import Client

_COLUMNS = ("POLICY", "KIND", "PODS", "DIRECTIONS", "PROBLEM")
OFF = "policies are not enforced: network.policy.enabled is false"


@command("list", "quiltctl policy list", "quiltctl policy list -o json")
@output
@cluster
def list_(client: Client) -> Result:
    """Show policies and the number of pods that each holds for.

    Exit code 0: shown; 2: cannot tell.
    """
    about, cluster_policies, enforced = policies(client)
    found = rows(about, cluster_policies)
    return Result({"enforced": enforced, "policies": found}, partial(_show, found, enforced=enforced))


def _show(found: list[Row], out: Console, *, enforced: bool) -> None:
    if not enforced:
        out.print(f"! {OFF}", style="yellow", markup=False, soft_wrap=True)
    if not found:
        out.print("there are no policies", style="dim")
        return
    cells = (
        (row.policy, row.kind, str(row.pods), ", ".join(row.directions) or "-", row.problem or "-")
        for row in found
    )
    print_table(out, _COLUMNS, cells)

"""The program `quiltctl`, which is `kubectl quilt` as well: kubectl runs what is called kubectl-quilt."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from quilt_cli.commands.options import VERSION, access
from quilt_cli.groups import COMPLETE, Group

_PLUGIN = "kubectl-quilt"
_SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


@click.group(
    "quiltctl",
    cls=Group,
    folder="quilt_cli.commands",
    context_settings=_SETTINGS,
    examples=("quiltctl check --pre", "quiltctl status", "quiltctl connectivity test"),
)
@access
@click.version_option(VERSION)
def cli(kubeconfig: str | None, kube_context: str | None) -> None:
    """Look at Quilt Mesh, test it, and clean up after it."""


def main() -> None:
    """Entry point of the console scripts; help and errors name the program as it was called."""
    called = Path(sys.argv[0]).name.removesuffix(".exe")
    cli(prog_name="kubectl quilt" if called == _PLUGIN else "quiltctl", complete_var=COMPLETE)


if __name__ == "__main__":
    main()

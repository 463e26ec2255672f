"""The `quilt` command line: which commands there are. Each imports what it needs only when it runs."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

import click

_COMMANDS = {
    "status": ("quilt_cli.commands.status", "status", "Nodes, subnets, what is wrong and what to do."),
    "check": ("quilt_cli.commands.check", "check", "What would break the mesh, before and after an install."),
    "connectivity": ("quilt_cli.commands.connectivity", "connectivity", "Who reaches whom, tested by pods."),
    "multicast": ("quilt_cli.commands.multicast", "multicast", "Groups, routes, PIM neighbors, RPF, events."),
    "cleanup": ("quilt_cli.commands.cleanup", "cleanup", "Remove what Quilt Mesh left on this node."),
}


class Lazy(click.Group):
    """A group whose commands are imported when they run: `quilt status` does not pay for netlink."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for a name that is none."""
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


def _version() -> str:
    try:
        return version("quilt-mesh")
    except PackageNotFoundError:
        return "unknown"


@click.group(cls=Lazy, context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", help="Default: KUBECONFIG, the pod's service account, ~/.kube/config.")
@click.option("--context", "kube_context", help="Context of the kubeconfig.  [default: its current one]")
@click.version_option(_version(), prog_name="quilt")
def cli(kubeconfig: str | None, kube_context: str | None) -> None:
    """Look at Quilt Mesh, test it, and clean up after it."""


def main() -> None:
    """Entry point of the console script."""
    cli()


if __name__ == "__main__":
    main()

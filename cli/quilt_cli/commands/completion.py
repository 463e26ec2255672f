"""`quiltctl completion`: what a shell reads to complete commands and flags."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from quilt_cli.groups import COMPLETE, command


@command(
    "completion",
    "source <(quiltctl completion bash)",
    "quiltctl completion fish > ~/.config/fish/completions/quiltctl.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None  # click has all three
    click.echo(found(click.get_current_context().find_root().command, {}, "quiltctl", COMPLETE).source())

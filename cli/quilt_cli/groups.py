"""Where a command is: in a module of its group's folder. Nothing registers it; its docstring is its help.

`quiltctl status` is in `commands/status.py`, `quiltctl check node` in `commands/check/node.py`, the group of
the latter in `commands/check/__init__.py`. A module can hold several commands; one that is named like its
command is imported alone when that runs, so that nobody waits for what other commands import.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import click

COMPLETE = "_QUILTCTL_COMPLETE"
"""The environment variable by which a shell asks for completions."""


class Command(click.Command):
    """A command whose help ends in examples, called as the program itself was."""

    def __init__(self, *args: Any, examples: Sequence[str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, each on its line however long: they are there to be copied."""
        program = str(ctx.find_root().info_name)
        with formatter.section("Examples"):
            for example in self.examples:
                called, _, arguments = example.partition(" ")
                line = f"{program} {arguments}" if called == "quiltctl" else example
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function the command of this name; each example is a line as people type it."""
    return click.command(name, cls=Command, examples=examples)


class Group(Command, click.Group):
    """The commands that the modules of a folder hold; the group itself is in the folder's `__init__`."""

    def __init__(self, *args: Any, folder: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._folder = folder

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None when no command has that name."""
        if cmd_name not in self.commands:
            self._load(cmd_name.replace("-", "_"))
        if cmd_name not in self.commands:
            self._load_all()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        self._load_all()
        return super().list_commands(ctx)

    def _load_all(self) -> None:
        folder = importlib.import_module(self._folder)
        for module in pkgutil.iter_modules(folder.__path__):
            self._load(module.name)

    def _load(self, name: str) -> None:
        module = f"{self._folder}.{name}"
        if name.isidentifier() and find_spec(module) is not None:
            for found in vars(importlib.import_module(module)).values():
                if isinstance(found, Command):
                    self.add_command(found)

"""What the commands of `quiltctl multicast` share: the connection to the agent, and how answers are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from quilt_cli.commands.options import leave, output
from quilt_cli.control_socket import ControlRefusedError, ControlSocket, ControlUnreachableError
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_PROBLEMS
from quilt_cli.core.multicast import Sheet
from quilt_cli.output import console, print_json, print_table


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets the connection as `agent`; errors become a sentence and an exit code."""

    @output
    @functools.wraps(command)
    def wrapped(*, as_json: bool, **flags: Any) -> Any:
        path: str = click.get_current_context().obj
        with errors_reported(as_json=as_json), ControlSocket(path) as agent:
            return command(agent=agent, as_json=as_json, **flags)

    return wrapped


@contextmanager
def errors_reported(*, as_json: bool) -> Iterator[None]:
    """Errors as people and programs read them, with the exit code of each."""
    try:
        yield
    except ControlRefusedError as error:
        message, code = str(error), EXIT_PROBLEMS
    except ControlUnreachableError as error:
        message, code = f"cannot ask the agent: {error}", EXIT_CANNOT_TELL
    else:
        return
    if as_json:
        print_json({"error": message})
    else:
        console(stderr=True).print(f"✗ {message}", style="bold red", markup=False, soft_wrap=True)
    leave(code)


def show(sheet: Sheet, document: Any, *, as_json: bool) -> None:
    """A table for people, the document for programs."""
    if as_json:
        print_json(document)
        return
    if not sheet.rows:
        console().print(sheet.empty, style="dim", markup=False)
        return
    print_table(console(), sheet.columns, sheet.rows)


def done(text: str, document: Any, *, as_json: bool) -> None:
    """A sentence for people, the document for programs."""
    if as_json:
        print_json(document)
    else:
        console().print(f"✓ {text}", markup=False, soft_wrap=True)

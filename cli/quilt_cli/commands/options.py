"""Flags that several commands share, and what every command does about errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from quilt_cli.core.finding import EXIT_CANNOT_TELL
from quilt_cli.output import console, print_json
from quilt_kube.access import find
from quilt_kube.credentials import AccessError
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

Command = TypeVar("Command", bound=Callable[..., Any])


def output(command: Command) -> Command:
    """`-o table` or `-o json`, as the argument `as_json`."""
    choose: Callable[[Command], Command] = click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda context, parameter, value: value == "json",
        help="For people, or for programs.",
    )
    return choose(command)


def cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """--kubeconfig and --context, also where the group got them; the command gets `client`."""

    @click.option("--kubeconfig", help="Default: KUBECONFIG, ~/.kube/config, the pod's service account.")
    @click.option("--context", "kube_context", help="Context of the kubeconfig.  [default: its current one]")
    @functools.wraps(command)
    def wrapped(**flags: Any) -> Any:
        here = click.get_current_context()
        if here.invoked_subcommand is not None:
            return None  # Only a subcommand of it was asked for.
        given = here.find_root().params
        kubeconfig = flags.pop("kubeconfig") or given.get("kubeconfig")
        context = flags.pop("kube_context") or given.get("kube_context")
        with _told(as_json=bool(flags.get("as_json"))):
            return command(client=Client(find(kubeconfig or "", context or ""), agent="quilt"), **flags)

    return wrapped


def leave(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


@contextmanager
def _told(*, as_json: bool) -> Iterator[None]:
    """Errors of the API become one sentence and exit code 2: nothing can be said about the mesh."""
    try:
        yield
    except AccessError as error:
        message = str(error)
    except UnreachableError as error:
        message = f"{error}\n    → is the cluster up? `kubectl version` with the same kubeconfig"
    except ApiError as error:
        message = f"the API server refused: {error}\n    → `kubectl auth can-i --list` shows your rights"
    else:
        return
    if as_json:
        print_json({"error": message})
    else:
        console(stderr=True).print(f"[bold red]✗[/] cannot tell: {message}", soft_wrap=True)
    leave(EXIT_CANNOT_TELL)

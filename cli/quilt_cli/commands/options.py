"""Flags that several commands share, and what every command does about errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn, TypeVar

import click

from quilt_cli.core.finding import EXIT_CANNOT_TELL
from quilt_cli.output import console, print_json
from quilt_kube.access import AccessError, find
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

try:
    VERSION = version("quilt-mesh")
except PackageNotFoundError:
    VERSION = "unknown"
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


def access(command: Callable[..., Any]) -> Callable[..., Any]:
    """--kubeconfig and --context."""
    path = "Default: KUBECONFIG, ~/.kube/config, the pod's service account."
    context = "Context of the kubeconfig.  [default: its current one]"
    with_context = click.option("--context", "kube_context", help=context)(command)
    return click.option("--kubeconfig", help=path)(with_context)


def cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """--kubeconfig and --context, also where the group got them; the command gets `client`."""

    @access
    @functools.wraps(command)
    def wrapped(*, kubeconfig: str | None, kube_context: str | None, **flags: Any) -> Any:
        here = click.get_current_context()
        if here.invoked_subcommand is not None:
            return None  # Only a subcommand of it was asked for.
        with connected(kubeconfig, kube_context, as_json=bool(flags.get("as_json"))) as client:
            return command(client=client, **flags)

    return wrapped


def leave(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


@contextmanager
def connected(kubeconfig: str | None, context: str | None, *, as_json: bool) -> Iterator[Client]:
    """A client, by the group's flags where these are none. Errors become one sentence and exit code 2."""
    given = click.get_current_context().find_root().params
    path, name = kubeconfig or given.get("kubeconfig"), context or given.get("kube_context")
    try:
        yield Client(find(path or "", name or ""), agent="quiltctl")
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

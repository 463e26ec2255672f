"""Flags that several commands share, how each command answers, and what becomes of errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from quilt_cli.api.recorded import NotKeptError, Replaying
from quilt_cli.archive_file import read_archive
from quilt_cli.core.finding import EXIT_HEALTHY, CannotTellError, StoppedError
from quilt_cli.kernel.host import cni_folder
from quilt_cli.output import console, print_json
from quilt_kube.access import AccessError, find
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

try:
    VERSION = version("quilt-mesh")
except PackageNotFoundError:
    VERSION = "unknown"

Function = Callable[..., Any]
FOLDER = click.Path(path_type=Path)
cni_conf_dir = click.option(
    "--cni-conf-dir",
    "cni_conf",
    type=FOLDER,
    default=functools.partial(cni_folder, "etc/cni/net.d"),
    help="Default: /etc/cni/net.d, of the host where mounted.",
)
from_archive = click.option(
    "--from", "archive", type=FOLDER, help="An archive of `quiltctl sysdump`: no cluster is asked."
)
run_dir = click.option("--run-dir", "run", type=FOLDER, default="/run/quilt", show_default=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command found: for programs, for people, and as its exit code."""

    document: Any
    draw: Callable[[Console], None]
    exit_code: int = EXIT_HEALTHY
    compact: bool = False


def output(command: Function) -> Function:
    """`-o table` or `-o json`: prints the Result, or why it cannot, and ends with its exit code."""

    @click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people, or for programs.",
    )
    @functools.wraps(command)
    def wrapped(*, output: str, **flags: Any) -> None:
        context = click.get_current_context()
        try:
            result = command(**flags)
        except StoppedError as error:
            if output == "json":
                print_json({"error": str(error)})
            else:
                text = Text.assemble(("✗", "bold red"), f" {error.lead}{error}")
                console(stderr=True).print(text, soft_wrap=True)
            context.exit(error.exit_code)
        if result is None:
            return  # A subcommand was asked for, which answers.
        if output == "json":
            print_json(result.document, compact=result.compact)
        else:
            result.draw(console())
        context.exit(result.exit_code)

    return wrapped


def wants_json() -> bool:
    """Whether `-o json` was given, for what is printed before the Result."""
    return bool(click.get_current_context().params["output"] == "json")


def access(command: Function) -> Function:
    """--kubeconfig and --context."""
    path = "Default: KUBECONFIG, ~/.kube/config, the pod's service account."
    context = "Context of the kubeconfig.  [default: its current one]"
    with_context = click.option("--context", "kube_context", help=context)(command)
    return click.option("--kubeconfig", help=path)(with_context)


def cluster(command: Function) -> Function:
    """--kubeconfig and --context, also where the group got them; the command gets `client`.

    With `from_archive` the client may be one that answers from an archive.
    """

    @access
    @functools.wraps(command)
    def wrapped(
        *, kubeconfig: str | None, kube_context: str | None, archive: Path | None = None, **flags: Any
    ) -> Any:
        if click.get_current_context().invoked_subcommand is not None:
            return None  # Only a subcommand of it was asked for.
        with connected(kubeconfig, kube_context, archive) as client:
            return command(client, **flags)

    return wrapped


@contextmanager
def connected(kubeconfig: str | None, context: str | None, archive: Path | None = None) -> Iterator[Client]:
    """A client, by the group's flags where these are none, or one that answers from an archive.

    What it raises becomes CannotTellError.
    """
    given = click.get_current_context().find_root().params
    path, name = kubeconfig or given.get("kubeconfig"), context or given.get("kube_context")
    try:
        if archive is not None:
            yield Replaying(*read_archive(archive))
        else:
            yield Client(find(path or "", name or ""), agent="quiltctl")
    except NotKeptError as error:
        raise CannotTellError(str(error)) from error
    except AccessError as error:
        raise CannotTellError(str(error)) from error
    except UnreachableError as error:
        todo = "is the cluster up? `kubectl version` with the same kubeconfig"
        raise CannotTellError(f"{error}\n    → {todo}") from error
    except ApiError as error:
        todo = "`kubectl auth can-i --list` shows your rights"
        raise CannotTellError(f"the API server refused: {error}\n    → {todo}") from error

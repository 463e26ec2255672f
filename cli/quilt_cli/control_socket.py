"""The agent's control socket: one JSON object a line, asked and answered in order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, BinaryIO, Self

import msgspec

from quilt_cli.core.finding import EXIT_PROBLEMS, StoppedError

DEFAULT_SOCKET = "/run/quilt/control.sock"
# Seconds for an answer: the agent asks an RPF provider for at most one of them.
_TIMEOUT = 10.0

Document = dict[str, Any]


class ControlUnreachableError(StoppedError):
    """The socket cannot be talked to; the text says why and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(f"cannot ask the agent: {why}")


class ControlRefusedError(StoppedError):
    """The agent's own words for why it does not do what was asked."""

    exit_code = EXIT_PROBLEMS


@dataclass(frozen=True, slots=True)
class ControlSocket:
    """A connection: the path of its socket, the socket, and the lines that come."""

    path: str
    connection: socket
    lines: BinaryIO

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> Iterator[Self]:
        """Connect for a while."""
        with socket(AF_UNIX, SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            with _reported(path):
                connection.connect(path)
            with connection.makefile("rb") as lines:
                yield cls(path, connection, lines)

    def ask(self, command: str, **fields: Any) -> Document:
        """Send a command; the reply's data. ControlRefusedError with the agent's reason."""
        given = {name: value for name, value in fields.items() if value is not None}
        # One that closed may have sent the reason before.
        with _reported(self.path), suppress(BrokenPipeError):
            self.connection.sendall(json.dumps({"command": command, **given}).encode() + b"\n")
        reply = self._read()
        if reply.pop("success", False) is not True:
            raise ControlRefusedError(str(reply.get("error", "refused without a reason")))
        return reply

    def events(self) -> Iterator[Document]:
        """Notifications as they come, for ever; ControlUnreachableError when the agent stops."""
        self.connection.settimeout(None)
        while True:
            yield self._read()

    def _read(self) -> Document:
        with _reported(self.path):
            line = self.lines.readline()
        if not line:
            raise ControlUnreachableError(f"{self.path}: the agent closed the connection")
        try:
            return msgspec.json.decode(line, type=Document)
        except ValueError as error:
            raise ControlUnreachableError(f"{self.path} does not speak the control protocol") from error


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """What the socket refuses, in words."""
    try:
        yield
    except OSError as error:
        raise ControlUnreachableError(_why(path, error)) from error


def _why(path: str, error: OSError) -> str:
    text = f"{path}: {error.strerror or error}"
    if isinstance(error, PermissionError) or os.geteuid() != 0:
        return f"{text}\n    → run it as root on the node"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return (
            f"{text}: no agent serves it here\n"
            "    → on a node, or: kubectl -n quilt-system exec POD -c agent -- quiltctl multicast …"
        )
    return text

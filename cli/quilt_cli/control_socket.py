"""The agent's control socket: one JSON object a line, asked and answered in order."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any

DEFAULT_SOCKET = "/run/quilt/control.sock"
# Seconds for an answer: the agent asks an RPF provider for at most one of them.
_TIMEOUT = 10.0

Document = dict[str, Any]


class ControlUnreachableError(Exception):
    """The socket cannot be talked to; the text says why and what to do."""


class ControlRefusedError(Exception):
    """The agent's own words for why it does not do what was asked."""


class ControlSocket:
    """A connection; use it as a context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_TIMEOUT)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ControlUnreachableError(_why(path, error)) from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> ControlSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **fields: Any) -> Document:
        """Send a command; the reply's data. ControlRefusedError with the agent's reason."""
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            self._socket.sendall(json.dumps({"command": command, **given}).encode() + b"\n")
        except BrokenPipeError:
            pass  # It may have sent the reason before it closed.
        except OSError as error:
            raise ControlUnreachableError(_why(self._path, error)) from error
        reply = self._read()
        if reply.pop("success", False) is not True:
            raise ControlRefusedError(str(reply.get("error", "refused without a reason")))
        return reply

    def events(self) -> Iterator[Document]:
        """Notifications as they come, for ever; ControlUnreachableError when the agent stops."""
        self._socket.settimeout(None)
        while True:
            yield self._read()

    def _read(self) -> Document:
        try:
            line = self._lines.readline()
            if line:
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
        except OSError as error:
            raise ControlUnreachableError(_why(self._path, error)) from error
        except ValueError as error:
            raise ControlUnreachableError(f"{self._path} does not speak the control protocol") from error
        raise ControlUnreachableError(f"{self._path}: the agent closed the connection")


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

"""Running a command in a container: its streams as a WebSocket (RFC 6455), without input or output.

Only what the API server sends back is read: nothing is written to the command.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

import msgspec

from quilt_kube.request import UnreachableError

# KEP-4006; the older one has the same channels.
_PROTOCOLS: Final = "v5.channel.k8s.io, v4.channel.k8s.io"
_STDOUT, _STDERR, _ERROR = 1, 2, 3
_CONTINUED, _CLOSE, _PING, _PONG = 0, 8, 9, 10
_LARGEST: Final = 64 << 20


class CommandError(Exception):
    """A command in a container failed; the text is what it wrote about that, or the API server's words.

    `out` is what it had written to standard output: a command may answer and fail.
    """

    def __init__(self, text: str, out: bytes = b"") -> None:
        super().__init__(text)
        self.out = out


def target(namespace: str, pod: str, container: str, command: Iterable[str]) -> str:
    """Path and query of the request that runs a command."""
    query = [("container", container), ("stdout", "1"), ("stderr", "1"), *(("command", c) for c in command)]
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?{urlencode(query)}"


def headers() -> list[tuple[str, str]]:
    """Headers that ask for a WebSocket."""
    return [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", base64.b64encode(secrets.token_bytes(16)).decode()),
        ("Sec-WebSocket-Protocol", _PROTOCOLS),
    ]


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""


@dataclass
class Channels:
    """Takes in bytes as they come. `done` once the command ended; `reply` is what has to be sent back."""

    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    done: bool = False
    reply: bytes = b""
    _ended: bytearray = field(default_factory=bytearray)
    _buffer: bytearray = field(default_factory=bytearray)
    _channel: int = 0

    def feed(self, data: bytes) -> None:
        """Take in what came; UnreachableError where it is not a stream of this kind."""
        self._buffer += data
        while not self.done and (frame := self._frame()):
            self._accept(*frame)

    def failure(self) -> str:
        """Return why the command failed, in the API server's words; empty where it ended well."""
        try:
            found = msgspec.json.decode(bytes(self._ended), type=_Status)
        except msgspec.MsgspecError:
            return "the connection ended before the command did"
        return "" if found.status == "Success" else found.message or "it failed"

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the next frame's kind and content, None while it is not there whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        masked, size, at = buffer[1] & 0x80, buffer[1] & 0x7F, 2
        if masked:
            raise UnreachableError("what answers is not the stream of a command")
        if extended := {126: 2, 127: 8}.get(size, 0):
            if len(buffer) < at + extended:
                return None
            size, at = int.from_bytes(buffer[at : at + extended], "big"), at + extended
        if size > _LARGEST:
            raise UnreachableError(f"the command writes more than {_LARGEST} bytes at once")
        if len(buffer) < at + size:
            return None
        kind, content = buffer[0] & 0x0F, bytes(buffer[at : at + size])
        del buffer[: at + size]
        return kind, content

    def _accept(self, kind: int, content: bytes) -> None:
        if kind == _CLOSE:
            self.done = True
        elif kind == _PING:
            self.reply += _masked(_PONG, content)
        elif kind != _PONG and content:
            if kind != _CONTINUED:
                self._channel, content = content[0], content[1:]
            self._stream(content)

    def _stream(self, content: bytes) -> None:
        held = {_STDOUT: self.out, _STDERR: self.err, _ERROR: self._ended}.get(self._channel)
        if held is not None:
            held += content


def _masked(kind: int, content: bytes) -> bytes:
    """Return a short frame as clients send it; a mask of zeros changes nothing and is allowed."""
    return bytes((0x80 | kind, 0x80 | len(content[:125]))) + b"\0\0\0\0" + content[:125]

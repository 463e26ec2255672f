"""A watch's connection, whose lines are handed on by the very callback that reads them.

An HTTP client's stream lies behind a parser, a buffer and one more turn of the event loop: an event comes
0.1 ms later through it (decision 20). Of HTTP/1.1 this knows what a watch needs: an answer in chunks, or up
to the end of the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from quilt_crds.connections import CONNECT, open_socket

_HEX = b"0123456789abcdefABCDEF"
# Bytes.
_LONGEST_HEAD = 64 << 10
_LONGEST_LINE = 16 << 20


class AnswerError(ValueError):
    """What came is no answer in HTTP/1.1."""


class SilenceError(TimeoutError):
    """Nothing came for a while on a connection that stands."""


class Answer:
    """An answer in pieces of any size: a head, which tells `status` (0 before), then lines.

    `begun` is the line that has no end yet; `complete` tells that nothing follows any more.
    """

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self.begun = b""
        self._chunked = False
        self._raw = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes; raises AnswerError."""
        self._raw += data
        if not self.status and not self._read_head():
            return []
        *lines, self.begun = (self.begun + self._read_body()).split(b"\n")
        if len(self.begun) + len(self._raw) > _LONGEST_LINE:
            raise AnswerError(f"the server sends a line or chunk of more than {_LONGEST_LINE} bytes")
        return lines

    @property
    def cut(self) -> bool:
        """Whether the connection must not end here."""
        return not self.status or (self._chunked and not self.complete)

    def _read_head(self) -> bool:
        head, end, rest = self._raw.partition(b"\r\n\r\n")
        if not end and len(head) < _LONGEST_HEAD:
            return False
        first, *lines = head.decode("latin-1").lower().split("\r\n")
        version, _, status = first.partition(" ")
        if not end or not version.startswith("http/1.") or not status[:3].isdecimal():
            raise AnswerError(f"the server does not answer in HTTP/1.1: {first[:80]!r}")
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._chunked = fields.get("transfer-encoding") == "chunked"
        self.status, self._raw = int(status[:3]), rest
        return True

    def _read_body(self) -> bytes:
        """Take off what has come of the body: complete chunks (RFC 9112, 7.1), or everything."""
        raw, at = self._raw, 0
        if not self._chunked:
            self._raw = b""
            return raw
        content = []
        while not self.complete and (end := raw.find(b"\r\n", at)) >= 0:
            start = end + 2
            stop = start + _size(raw[at:end])
            if len(raw) < stop + 2:
                break
            content.append(raw[start:stop])
            self.complete = start == stop
            at = stop + 2
        self._raw = raw[at:]
        return b"".join(content)


def _size(text: bytes) -> int:
    digits = text.partition(b";")[0].strip()
    if not digits or digits.strip(_HEX):
        raise AnswerError(f"the server sends a chunk of {text[:20]!r} bytes")
    return int(digits, 16)


async def connect(host: str, port: int) -> socket.socket:
    """Connect to the first address of a host that answers; raises OSError, of which TimeoutError is one."""
    loop = asyncio.get_running_loop()
    failure = OSError(f"{host} has no address")
    for address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = open_socket(address)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT):
                await loop.sock_connect(connection, address[-1])
            return connection
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    raise failure


class LineStream(asyncio.Protocol):
    """The client's side of one connection: `take` gets the lines of each read together.

    It gets none at first, when the answer begins, and never those of a refusal (status 400 and more).
    """

    def __init__(self, take: Callable[[Sequence[bytes]], None]) -> None:
        self._take = take
        self._answer = Answer()
        self._refusal = b""
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._over: asyncio.Future[None] = self._loop.create_future()

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return self._answer.status

    @property
    def refusal(self) -> bytes:
        """The body of a refusal."""
        return self._refusal + self._answer.begun

    async def follow(self, silence: float) -> None:
        """Wait for the answer's end.

        Raises SilenceError after `silence` seconds without a byte, OSError, AnswerError, and whatever `take`
        raises.
        """
        try:
            while not self._over.done():
                left = self._heard + silence - self._loop.time()
                if left <= 0:
                    raise SilenceError
                await asyncio.wait((self._over,), timeout=left)
            self._over.result()
        finally:
            self._over.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what was read."""
        self._heard = self._loop.time()
        answer = self._answer
        try:
            lines = answer.feed(data)
            if answer.status >= 400:
                self._refusal += b"\n".join(lines)
            elif answer.status and not self._over.done():
                self._take(lines)
        except Exception as error:  # whoever waits for the end is told
            self._end(error)
        if answer.complete:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end of the connection."""
        cut = ConnectionError("the server closed the connection") if self._answer.cut else None
        self._end(exc or cut)

    def _end(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

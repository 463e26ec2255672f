"""Watching Leases leanly: a blocking socket in a thread, drained a few times a second.

5,000 nodes renew 500 Leases a second. As kopf events that costs 22 % of a core, as an asyncio stream 7 %,
drained in batches by a thread and decoded into one small struct 0.4 %.

The request is HTTP/1.0: the server then sends the bare stream of JSON lines, without chunks to unwrap.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec
import structlog

from quilt_crds.connections import CONNECT, SILENCE, notice_loss
from quilt_operator.api.connection import Connection

log = structlog.get_logger()

# Renewals wait this long at most for being noticed; verdicts are in tens of seconds.
_DRAIN_EVERY = 0.25
# A watch that is back within this time has missed nothing that matters and resumes where it stopped.
_SHORT_GAP = 2.0
# Seconds for the TLS handshake, and between the pieces of a list.
_ANSWER = 10.0


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a Lease's metadata that is read."""

    name: str = ""
    resource_version: str = ""


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a Lease's spec that is read: its text is compared, never understood as a time."""

    renew_time: str = ""


class Lease(msgspec.Struct, frozen=True):
    """A Lease; an error Status in a watch decodes as one with a code."""

    metadata: Meta = Meta()
    spec: Spec = Spec()
    code: int = 0


class LeaseList(msgspec.Struct, frozen=True):
    """A list of Leases."""

    metadata: Meta
    items: list[Lease]


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: Lease


class WatchLostError(Exception):
    """The watch cannot be resumed where it stopped."""


_decode_list = msgspec.json.Decoder(LeaseList).decode
_decode_event = msgspec.json.Decoder(WatchEvent).decode


class LeaseWatch(threading.Thread):
    """Follows all Leases of one namespace; reads of its properties are safe from other threads.

    `renewed(names)` is called in this thread with the Leases that changed. `restarted()` is called when
    observation has begun anew, so that silence before now means nothing.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        renewed: Callable[[Iterable[str]], None],
        restarted: Callable[[], None],
    ) -> None:
        super().__init__(name=f"leases-{namespace}", daemon=True)
        self.namespace = namespace
        self._connection = connection
        self._renewed = renewed
        self._restarted = restarted
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._seen: dict[str, str] = {}
        self._version = ""
        self._stopping = threading.Event()
        self._suspect = threading.Event()
        self._failures = 0
        self._broken_at = -float("inf")
        self.heard = -float("inf")
        """Monotonic time at which the server last said anything."""
        self.listed = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether the stream was alive lately."""
        return time.monotonic() - self.heard < SILENCE

    def snapshot(self) -> dict[str, str]:
        """Lease name -> renewTime as last seen (a copy)."""
        return dict(self._seen)

    def saw(self, name: str) -> bool:
        """Whether there is a Lease of that name that was ever renewed."""
        return bool(self._seen.get(name))

    def distrust(self) -> None:
        """Begin anew: somebody saw a change that this watch should have seen long ago."""
        self._suspect.set()

    def stop(self) -> None:
        """Ask the thread to end; it does within a drain."""
        self._stopping.set()

    def run(self) -> None:
        """Follow the Leases until stopped."""
        while not self._stopping.is_set():
            try:
                if not self._version or time.monotonic() - self._broken_at > _SHORT_GAP:
                    self._list()
                self._watch()
                self._broken_at = time.monotonic()
            except WatchLostError as error:
                log.info("lease_watch_restarts", namespace=self.namespace, reason=str(error))
                self._version = ""
            except Exception as error:
                # Whatever it is: a thread that ended would leave its Leases unseen for good.
                self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            self._broken_at = time.monotonic()
        if self._failures == 3:
            log.warning("lease_watch_failing", namespace=self.namespace, error=repr(error))
        self._stopping.wait(min(5.0, 0.1 * 2 ** min(self._failures, 6)))

    def _list(self) -> None:
        """Read all Leases afresh; what changed unseen counts as renewed now."""
        with self._open("?resourceVersion=0") as stream:
            stream.settimeout(_ANSWER)
            body = bytearray()
            while data := stream.recv(1 << 20):
                body += data
        leases = _decode_list(_after_head(body))
        found = {item.metadata.name: item.spec.renew_time for item in leases.items}
        if self.listed.is_set():
            self._renewed([name for name, text in found.items() if self._seen.get(name) != text])
        self._seen = found
        self._version = leases.metadata.resource_version
        self.heard = time.monotonic()
        self._restarted()
        self.listed.set()

    def _watch(self) -> None:
        query = f"?watch=true&allowWatchBookmarks=true&resourceVersion={self._version}"
        with self._open(query) as stream:
            buffer = bytearray()
            in_head = True
            while not self._stopping.wait(_DRAIN_EVERY):
                ended = self._drain(stream, buffer)
                if in_head and b"\r\n\r\n" in buffer:
                    buffer[:] = _after_head(buffer)
                    in_head = False
                    self._failures = 0
                if not in_head:
                    self._consume(buffer)
                if ended:
                    return
                if self._suspect.is_set() or not self.connected:
                    self._suspect.clear()
                    raise WatchLostError("the watch fell silent")

    def _drain(self, stream: socket.socket, buffer: bytearray) -> bool:
        """Append all that has arrived; True at the end of the stream."""
        stream.setblocking(False)
        while True:
            try:
                data = stream.recv(1 << 18)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            if not data:
                return True
            buffer += data
            self.heard = time.monotonic()

    def _consume(self, buffer: bytearray) -> None:
        end = buffer.rfind(b"\n") + 1
        renewed: list[str] = []
        try:
            for line in bytes(buffer[:end]).splitlines():
                self._read(line, renewed)
        finally:
            # What came before a failure counts: it is among what was seen.
            if renewed:
                self._renewed(renewed)
        del buffer[:end]

    def _read(self, line: bytes, renewed: list[str]) -> None:
        event = _decode_event(line)
        if event.type == "ERROR":
            raise WatchLostError(f"the API server ended the watch ({event.object.code})")
        meta, text = event.object.metadata, event.object.spec.renew_time
        self._version = meta.resource_version or self._version
        if event.type == "DELETED":
            self._seen.pop(meta.name, None)
        elif event.type != "BOOKMARK" and self._seen.get(meta.name) != text:
            self._seen[meta.name] = text
            renewed.append(meta.name)

    def _open(self, query: str) -> socket.socket:
        url = urlsplit(self._connection.server)
        host = url.hostname or ""
        stream: socket.socket = socket.create_connection((host, url.port or 443), timeout=CONNECT)
        try:
            notice_loss(stream)
            stream.settimeout(_ANSWER)
            if url.scheme == "https":
                stream = self._connection.ssl_context.wrap_socket(stream, server_hostname=host)
            headers = {"Host": host, "Accept": "application/json", **self._connection.last_authorization()}
            lines = [f"GET {self._path}{query} HTTP/1.0", *(f"{k}: {v}" for k, v in headers.items())]
            stream.sendall("\r\n".join([*lines, "", ""]).encode())
        except BaseException:
            stream.close()
            raise
        return stream


def _after_head(answer: bytearray) -> bytes:
    """The body of an HTTP answer; raises by its status line."""
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")
    code = int(status[1]) if len(status) > 1 and status[1].isdigit() else 0
    if code == 410:
        raise WatchLostError("the watch's resourceVersion is too old")
    if code != 200:
        raise OSError(f"HTTP {code}: {body[:200].decode(errors='replace')}")
    return body

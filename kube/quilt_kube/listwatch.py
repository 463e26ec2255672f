"""Following a collection: one list, then a watch that survives everything short of a relist. Sends nothing.

A watch that ends or breaks continues from the last resourceVersion (bookmarks keep that fresh), so a
restarted API server costs no list. Only 410 Gone, an event that cannot be read, or an older history starts
again with a list.

An API server whose etcd was restored from a backup continues from an older resourceVersion, and a watch from
a newer one is silent there until that is reached. So after every failure one object is listed first: its
list's resourceVersion shows it.

A sender asks `request` for what to send, hands a list's answer to `page`, a watch's bytes to `feed`, its end
or any error to `ended`, and waits as that says: `aio.follow`, `sync.follow`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from quilt_kube.backoff import Backoff
from quilt_kube.decoding import convert
from quilt_kube.request import (
    METADATA_LIST,
    ApiError,
    Page,
    Request,
    SilentError,
    Status,
    UnreachableError,
    decode_page,
    read,
)
from quilt_log import log

# Seconds.
SILENCE: Final = 70.0
"""A watch on which nothing came for so long has no API server behind it: bookmarks come about once a minute
(`bookmarkFrequency` of kube-apiserver's storage cacher)."""
# Bytes.
_LONGEST_LINE = 16 << 20
_GONE = 410


class _Versioned(Protocol):
    @property
    def resource_version(self) -> str: ...


class Identified(Protocol):
    """An object with metadata."""

    @property
    def metadata(self) -> _Versioned:
        """With its resourceVersion."""
        ...


S = TypeVar("S")
T = TypeVar("T", bound=Identified)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_failure = msgspec.json.Decoder(Status).decode


@dataclass(eq=False)
class ListWatch(Generic[T]):
    """The state of following the objects at `path`, each decoded as `kind` (a msgspec struct with metadata).

    `listed` gets every complete list, decoded while it is read (`version` is the list's by then), `changed`
    the events of one read together, as (type, object) with type ADDED, MODIFIED or DELETED. Neither may
    block. `limit` is the size of a list's pages (0: one page). `query` restricts both, for example by a
    fieldSelector. With `arriving` a list's objects are passed on page by page as it is read, and whether the
    page is its first one; `listed` gets none at its end. So of a large kind no more than a page is held.
    `rewound` is called before a list of an older history than the one that was followed: time to forget
    resourceVersions.
    """

    path: str
    kind: type[T]
    _: KW_ONLY
    listed: Callable[[Iterable[T]], None]
    changed: Callable[[Sequence[tuple[str, T]]], None]
    arriving: Callable[[Iterable[T], bool], None] | None = None
    rewound: Callable[[], None] = lambda: None
    past: int = 0
    """A resourceVersion that was seen, by whomever: an older list is of an older history."""
    query: Mapping[str, str] | None = None
    limit: int = 0
    silence: float = SILENCE
    """Seconds without a byte after which a sender gives up a watch."""
    clock: Callable[[], float] = time.monotonic
    version: str = field(default="", init=False)
    """The resourceVersion to go on from; empty when only a list helps."""
    received_at: float = field(default=-float("inf"), init=False)
    """When the API server last sent anything here, by `clock`."""
    connected: bool = field(default=False, init=False)
    """Whether the last contact with the API server went well."""
    _pages: list[Page] = field(default_factory=list, init=False)
    _begun: bytes = field(default=b"", init=False)
    _came: bool = field(default=False, init=False)
    _stale: bool = field(default=False, init=False)
    _doubted: bool = field(default=False, init=False)
    """Whether the history may be an older one, since the last contact failed."""
    _backoff: Backoff = field(default_factory=Backoff, init=False)
    _complained: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.name = self.path.rsplit("/", 1)[-1]
        self._query = dict(self.query or {})
        self._decode = decoder(self.kind)
        self._made = self.clock()

    @property
    def age(self) -> float:
        """Seconds since the API server last sent anything here, or since the beginning."""
        return self.clock() - max(self.received_at, self._made)

    @property
    def newest(self) -> int:
        """The newest resourceVersion that was seen; 0 for none."""
        return max(self.past, int(self.version or 0))

    @property
    def listing(self) -> bool:
        """Whether `request` asks for a list; a sender ends a watch that is still open then."""
        return self._stale or not self.version or self._doubted

    def relist(self) -> None:
        """Begin again with a list: what is known may be wrong. From any thread."""
        self._stale = True

    def request(self) -> Request:
        """Return what to send next: the (next page of the) list, or the watch."""
        if self._stale:
            self.past = self.newest
            self._stale, self.version = False, ""
            self._pages.clear()
        if not self.version:
            more = self._pages[-1].more if self._pages else ""
            page = {"limit": str(self.limit)} if self.limit else {}
            return read(self.path, {**self._query, **page, **({"continue": more} if more else {})})
        if self._doubted:
            return read(self.path, self._any_object(), METADATA_LIST)
        self._begun, self._came = b"", False
        watch = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            # Spread over minutes, so that a restarted API server's watches do not all end at once again.
            "timeoutSeconds": str(random.randint(300, 600)),  # noqa: S311
        }
        return read(self.path, self._query | watch)

    def page(self, body: bytes) -> None:
        """Accept the answer to a list's request; the last page calls `listed`."""
        page = decode_page(body)
        self._alive()
        self._doubted = False
        older = page.version < self.newest
        if self.version:
            if older:
                self.relist()
            return
        if older:
            log.warning("api_history_older", watch=self.name, version=page.version, known=self.newest)
            self.past = 0
            self.rewound()
        if self.arriving is not None:
            self.arriving(map(self._decode, page.items), not self._pages)
            page = page._replace(items=[])
        self._pages.append(page)
        if page.more:
            return
        pages, self._pages = self._pages, []
        self.version = str(page.version)
        # One by one: thousands of decoded objects at once would leave holes in memory.
        self.listed(self._decode(item) for page in pages for item in page.items)

    def feed(self, data: bytes) -> None:
        """Accept what was read of a watch's answer: nothing when it begins, then lines in pieces of any size.

        Raises ApiError for an ERROR event and msgspec's errors; events before them have been passed on.
        """
        self._alive()
        if not data:
            self._backoff.reset()
        self._came = self._came or bool(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LONGEST_LINE:
            raise msgspec.DecodeError(f"the server sends a line of more than {_LONGEST_LINE} bytes")
        events: list[tuple[str, T]] = []
        try:
            for line in filter(None, lines):
                self._read(line, events)
        finally:
            # What came before a failure counts: the watch continues behind it.
            if events:
                self.changed(events)

    def ended(self, error: Exception | None = None) -> float:
        """Take note of how a request failed, or that a watch ended; return the seconds to wait.

        `error` is an UnreachableError, ApiError or MsgspecError.
        """
        self._doubted = self._doubted or error is not None
        if isinstance(error, SilentError):
            # An API server that just started has no bookmarks for what never changes: no reason to worry
            # anybody. If it is one that hangs, the next attempt will show it.
            log.debug("api_watch_silent", watch=self.name, error=str(error))
            return 0.0
        if error is None and self._came:
            return 0.0
        if isinstance(error, ApiError) and error.status == _GONE:
            log.info("api_watch_expired", watch=self.name)
            self.relist()
        elif error is not None:
            # An overloaded or restarting server must not be asked for lists.
            if not (isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.passing)):
                self.relist()
            self._lost(error)
        return self._backoff.delay()

    def _any_object(self) -> dict[str, str]:
        """Return the query for one object.

        It has no selectors, by which some servers look through all that they have; but a name stays, as more
        than that may not be allowed.
        """
        named = "metadata.name=" in self._query.get("fieldSelector", "")
        return {**(self._query if named else {}), "limit": "1"}

    def _read(self, line: bytes, events: list[tuple[str, T]]) -> None:
        event = _decode_event(line)
        if event.type == "ERROR":
            failure = _decode_failure(event.object)
            raise ApiError(failure.code, failure.message, failure.reason)
        item = self._decode(event.object)
        self.version = item.metadata.resource_version or self.version
        if event.type != "BOOKMARK":
            events.append((event.type, item))

    def _alive(self) -> None:
        self.received_at = self.clock()
        if not self.connected:
            self.connected, self._complained = True, False
            log.info("api_watch_connected", watch=self.name)

    def _lost(self, error: Exception) -> None:
        self.connected = False
        if not self._complained:
            self._complained = True
            log.warning("api_watch_lost", watch=self.name, error=str(error))


FAILURES: tuple[type[Exception], ...] = (UnreachableError, ApiError, msgspec.MsgspecError)
"""What a sender hands to `ended`; all else is a defect and is raised."""


def decode_list(body: bytes, kind: type[S]) -> tuple[Iterator[S], int]:
    """Return a list's objects, each decoded as `kind` while it is read, and its resourceVersion.

    Raises UnreachableError when it is not a list.
    """
    page = decode_page(body)
    return map(decoder(kind), page.items), page.version


def decoder(kind: type[S]) -> Callable[[bytes | msgspec.Raw], S]:
    """Return a function from JSON to a struct of this kind; msgspec.DecodeError for what is not JSON."""
    strict = msgspec.json.Decoder(kind).decode

    def decode(text: bytes | msgspec.Raw) -> S:
        try:
            return strict(text)
        except msgspec.ValidationError:
            return convert(msgspec.json.decode(text), kind)

    return decode

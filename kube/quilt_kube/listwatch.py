"""Following a collection: one list, then a watch that survives everything short of a relist. Sends nothing.

A watch that ends or breaks continues from the last resourceVersion (bookmarks keep that fresh), so a
restarted API server costs no list. Only 410 Gone, or an event that cannot be read, starts again with a list.

Objects are decoded into msgspec structs, whatever an older or newer release wrote: what does not fit reads as
absent. One odd field must not hide an object, and one odd object must not stop a watch; who uses a value
judges it.

A sender asks `request` for what to send, hands a list's answer to `page`, a watch's bytes to `feed`, its end
or any error to `ended`, and waits as that says: `aio.follow`, `sync.follow`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar, get_args, get_origin

import msgspec

from quilt_kube.backoff import Backoff
from quilt_kube.request import (
    ApiError,
    Request,
    SilentError,
    Status,
    UnreachableError,
    not_kubernetes,
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


class _Meta(msgspec.Struct, rename={"resource_version": "resourceVersion", "more": "continue"}):
    resource_version: str = ""
    more: str = ""


class _Page(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode_page = msgspec.json.Decoder(_Page).decode
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
    """

    path: str
    kind: type[T]
    _: KW_ONLY
    listed: Callable[[Iterable[T]], None]
    changed: Callable[[Sequence[tuple[str, T]]], None]
    arriving: Callable[[Iterable[T], bool], None] | None = None
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
    _pages: list[_Page] = field(default_factory=list, init=False)
    _begun: bytes = field(default=b"", init=False)
    _came: bool = field(default=False, init=False)
    _stale: bool = field(default=False, init=False)
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
    def listing(self) -> bool:
        """Whether `request` asks for a list; a sender ends a watch that is still open then."""
        return self._stale or not self.version

    def relist(self) -> None:
        """Begin again with a list: what is known may be wrong. From any thread."""
        self._stale = True

    def request(self) -> Request:
        """Return what to send next: the (next page of the) list, or the watch."""
        if self._stale:
            self._stale, self.version = False, ""
            self._pages.clear()
        if not self.version:
            more = self._pages[-1].metadata.more if self._pages else ""
            page = {"limit": str(self.limit)} if self.limit else {}
            return read(self.path, {**self._query, **page, **({"continue": more} if more else {})})
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
        page = _decode_page(body)
        self._alive()
        if self.arriving is not None:
            self.arriving(map(self._decode, page.items or ()), not self._pages)
            page.items = None
        self._pages.append(page)
        if page.metadata.more:
            return
        pages, self._pages = self._pages, []
        self.version = page.metadata.resource_version
        # One by one: thousands of decoded objects at once would leave holes in memory.
        self.listed(self._decode(item) for page in pages for item in page.items or ())

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

    def _read(self, line: bytes, events: list[tuple[str, T]]) -> None:
        event = _decode_event(line)
        if event.type == "ERROR":
            failure = _decode_failure(event.object)
            raise ApiError(failure.code, failure.message, failure.reason)
        if event.type == "BOOKMARK":
            self.version = _decode_page(event.object).metadata.resource_version or self.version
            return
        item = self._decode(event.object)
        self.version = item.metadata.resource_version or self.version
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


def decode_list(body: bytes, kind: type[T]) -> tuple[Iterator[T], int]:
    """Return a list's objects, each decoded as `kind` while it is read, and its resourceVersion.

    Raises UnreachableError when it is not a list.
    """
    try:
        page = _decode_page(body)
        version = int(page.metadata.resource_version)
    except (msgspec.MsgspecError, ValueError) as error:
        raise not_kubernetes(body) from error
    return map(decoder(kind), page.items or ()), version


def decoder(kind: type[S]) -> Callable[[bytes | msgspec.Raw], S]:
    """Return a function from JSON to a struct of this kind; msgspec.DecodeError for what is not JSON."""
    strict = msgspec.json.Decoder(kind).decode

    def decode(text: bytes | msgspec.Raw) -> S:
        try:
            return strict(text)
        except msgspec.ValidationError:
            return convert(msgspec.json.decode(text), kind)

    return decode


def convert(raw: Any, kind: type[S]) -> S:
    """Make a struct of decoded JSON, with defaults for what is missing or does not fit. Raises nothing."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        given = raw if isinstance(raw, Mapping) else {}
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]  # structs alone get here
        read = {field.name: _fitting(given.get(field.encode_name), field.type) for field in fields}
        return kind(**{name: value for name, value in read.items() if value is not None})


def _fitting(value: Any, kind: Any) -> Any:
    """Return what fits of a field's value: of a struct its fields, of a list its items; None for nothing."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return convert(value, kind) if isinstance(value, Mapping) else None
    if isinstance(value, list) and get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(item for raw in value if (item := _fitting(raw, inner)) is not None)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None

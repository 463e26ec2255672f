"""Watches that break at any point, in any way: in the end the client knows what the API server holds."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_kube import aio, sync
from quilt_kube.access import Access
from quilt_kube.backoff import Backoff
from quilt_kube.listwatch import ListWatch
from quilt_kube.request import METADATA_LIST, ApiError, Request, SilentError, UnreachableError
from tests.support.logs import capture_logs

NAMES = ("a", "b", "c")
# Ways in which a watch ends: an ERROR of this code among its lines, a line that nobody understands, an answer
# that is not a watch, no more than the end of the connection, or an API server that comes back with the state
# of a backup.
ENDS = (410, 429, 500, 504, 0, "garbage", "refused", "expired", "cut", "over", "restored")
Change = tuple[str, bool]
History = list[tuple[int, str, dict[str, Any]]]


class Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class Thing(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


class Server:
    """Things whose history is sent in reads of any size; each watch but the last ends as `plan` says.

    A list is sent in pages of the size that is asked for.
    """

    def __init__(self, changes: Sequence[Change], plan: Sequence[tuple[int, str | int]]) -> None:
        self._changes = list(changes)
        self._plan = list(plan)
        self._history: History = []
        self._version = 10
        self.held: dict[str, int] = {}
        self.sent = asyncio.Event()

    def change(self) -> None:
        """Make the next change that there is."""
        if not self._changes:
            return
        name, stays = self._changes.pop(0)
        self._version += 1
        kind = "DELETED" if not stays else "MODIFIED" if name in self.held else "ADDED"
        if stays:
            self.held[name] = self._version
        elif self.held.pop(name, None) is None:
            return
        meta = {"name": name, "resourceVersion": str(self._version)}
        self._history.append((self._version, kind, {"metadata": meta}))

    def restore(self, lost: int) -> None:
        """Come back without the last changes, which the backup does not have."""
        del self._history[-lost:]
        self._version = self._history[-1][0] if self._history else 10
        self.held = {}
        for at, kind, item in self._history:
            name = item["metadata"]["name"]
            self.held[name] = at
            if kind == "DELETED":
                del self.held[name]

    async def send(self, request: Request, *, long: bool = False) -> bytes:
        items = [{"metadata": {"name": n, "resourceVersion": str(v)}} for n, v in sorted(self.held.items())]
        start, size = int(request.query.get("continue", "0")), int(request.query.get("limit", "100"))
        more = str(start + size) if start + size < len(items) else ""
        meta = {"resourceVersion": str(self._version), "continue": more}
        return json.dumps({"metadata": meta, "items": items[start : start + size]}).encode()

    async def stream(self, request: Request, silence: float, feed: Callable[[bytes], None]) -> None:
        since = int(request.query["resourceVersion"])
        size, end = self._plan.pop(0) if self._plan else (1000, "")
        if end in ("refused", "expired"):
            raise ApiError(410 if end == "expired" else 403, "refused on demand")
        feed(b"")
        self.change()
        self.change()
        lines = [
            json.dumps({"type": kind, "object": item}).encode()
            for at, kind, item in self._history
            if at > since
        ]
        lines += [b"}{"] if end == "garbage" else [_failure(end)] if isinstance(end, int) else []
        data = b"".join(line + b"\n" for line in lines)
        for start in range(0, len(data), size):
            feed(data[start : start + size])
            await asyncio.sleep(0)
        if end == "restored":
            self.restore(1 + size % 4)
        if end in ("cut", "restored"):
            raise UnreachableError("the connection is gone")
        if not end and not self._changes:
            self.sent.set()
            await asyncio.Event().wait()


def _failure(code: int) -> bytes:
    return json.dumps({"type": "ERROR", "object": {"code": code, "message": "etcd has no time"}}).encode()


class Known:
    """What a watch passed on: name -> version."""

    def __init__(self) -> None:
        self.things: dict[str, str] = {}
        self.lists = 0

    def listed(self, items: Iterable[Thing]) -> None:
        self.things = {item.metadata.name: item.metadata.resource_version for item in items}
        self.lists += 1

    def changed(self, events: Sequence[tuple[str, Thing]]) -> None:
        for kind, item in events:
            self.things[item.metadata.name] = item.metadata.resource_version
            if kind == "DELETED":
                del self.things[item.metadata.name]

    def watch(self, **options: Any) -> ListWatch[Thing]:
        return ListWatch("/things", Thing, listed=self.listed, changed=self.changed, **options)


async def known_in_the_end(server: Server) -> dict[str, str]:
    known = Known()
    watch = known.watch(limit=2)
    watch._backoff = Backoff(0.0001, 0.0001)
    task = asyncio.create_task(aio.follow(server, watch))
    async with asyncio.timeout(60):
        await server.sent.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return known.things


@given(
    changes=st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=8),
    plan=st.lists(st.tuples(st.integers(1, 400), st.sampled_from(ENDS)), max_size=6),
)
def test_no_event_is_lost_by_a_broken_watch(changes: list[Change], plan: list[tuple[int, str | int]]) -> None:
    """t7: However a watch breaks, in the end the client knows what the API server holds."""

    async def run() -> tuple[dict[str, str], dict[str, int]]:
        server = Server(changes, plan)
        return await known_in_the_end(server), server.held

    known, held = asyncio.run(run())
    assert known == {name: str(version) for name, version in held.items()}


def test_the_blocking_sender_follows_until_it_is_ended_and_notes_what_fails() -> None:
    ended, known, noted = threading.Event(), Known(), list[str]()

    class Blocking(sync.Client):
        def send(self, request: Request, *, timeout: float | None = None) -> bytes:
            return page(11 if known.things else 10)

        def stream(self, request: Request, silence: float) -> Iterator[bytes]:
            if noted.count("gone"):
                ended.set()
            yield b""
            meta = {"name": "a", "resourceVersion": "11"}
            yield json.dumps({"type": "ADDED", "object": {"metadata": meta}}).encode() + b"\n"
            raise UnreachableError("gone")

    watch = known.watch()
    watch._backoff = Backoff(0.0001, 0.0001)
    client = Blocking(Access("http://127.0.0.1:1"), agent="a")
    sync.follow(client, watch, ended, lambda failure: noted.append(str(failure)))
    assert known.things == {"a": "11"}
    assert noted == ["None", "None", "gone", "None"]


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_events_that_come_together_with_an_error_count(code: int) -> None:
    """t7: An event that one read delivers together with an ERROR counts."""
    server = Server([("a", True)], [(1000, code)])
    assert await known_in_the_end(server) == {"a": "11"}


def page(version: int, more: str = "") -> bytes:
    return json.dumps({"metadata": {"resourceVersion": str(version), "continue": more}}).encode()


def bookmark(version: int) -> bytes:
    thing = {"metadata": {"resourceVersion": str(version)}}
    return json.dumps({"type": "BOOKMARK", "object": thing}).encode() + b"\n"


def test_a_bookmark_moves_the_version_and_is_no_event() -> None:
    known = Known()
    watch = known.watch(query={"fieldSelector": "metadata.name=a"})
    assert watch.request().query == {"fieldSelector": "metadata.name=a"}
    watch.page(page(10))
    watch.feed(bookmark(20))
    query = watch.request().query
    assert query["resourceVersion"] == "20"
    assert query["fieldSelector"] == "metadata.name=a"
    assert query["allowWatchBookmarks"] == "true"
    assert not known.things


@pytest.mark.parametrize(
    "error", [UnreachableError("x"), ApiError(503, "x"), ApiError(401, "x"), SilentError("x")]
)
def test_what_passes_costs_a_look_at_one_object_and_no_list(error: Exception) -> None:
    known = Known()
    watch = known.watch(query={"labelSelector": "a=b"}, limit=500)
    watch.page(page(10))
    watch.ended(error)
    look = watch.request()
    assert (look.query, look.accept) == ({"limit": "1"}, METADATA_LIST)
    watch.page(page(12, more="next"))
    assert not watch.listing
    assert watch.request().query["resourceVersion"] == "10"
    assert known.lists == 1


def test_who_may_list_one_name_alone_looks_at_that() -> None:
    watch = Known().watch(query={"fieldSelector": "metadata.name=a"})
    watch.page(page(10))
    watch.ended(UnreachableError("x"))
    assert watch.request().query == {"fieldSelector": "metadata.name=a", "limit": "1"}


def test_an_older_history_is_listed_and_versions_can_be_forgotten_first() -> None:
    """A watch from a newer version than the API server's is silent until that is reached."""
    came: list[str] = []
    watch = ListWatch(
        "/things",
        Thing,
        listed=lambda items: came.append(f"{len(list(items))} of version {watch.version}"),
        changed=lambda _: None,
        rewound=lambda: came.append("rewound"),
    )
    watch.page(page(10))
    watch.feed(bookmark(30))
    watch.ended(UnreachableError("gone"))
    watch.request()
    with capture_logs() as logs:
        watch.page(page(20))
        assert watch.request().query == {}
        watch.page(page(21))
    assert came == ["0 of version 10", "rewound", "0 of version 21"]
    assert [(entry["event"], entry["version"], entry["known"]) for entry in logs[1:]] == [
        ("api_history_older", 21, 30)
    ]
    assert watch.request().query["resourceVersion"] == "21"


def test_an_answer_that_is_no_list_changes_nothing() -> None:
    known = Known()
    watch = known.watch()
    with pytest.raises(UnreachableError, match="not as Kubernetes does"):
        watch.page(b"{}")
    assert (known.lists, watch.listing) == (0, True)


@pytest.mark.parametrize("error", [ApiError(410, "x"), ApiError(400, "x"), msgspec.DecodeError("x")])
def test_what_does_not_pass_is_listed_again(error: Exception) -> None:
    watch = Known().watch()
    watch.page(page(10))
    assert watch.ended(error) > 0
    assert watch.listing


def test_a_list_whose_pages_expired_begins_with_its_first_page() -> None:
    known = Known()
    watch = known.watch(limit=1)
    watch.page(page(10, more="next"))
    assert watch.request().query == {"limit": "1", "continue": "next"}
    watch.ended(ApiError(410, "too old"))
    assert watch.request().query == {"limit": "1"}
    assert not known.lists


def test_who_distrusts_a_watch_gets_a_list_whatever_it_still_says() -> None:
    watch = Known().watch()
    watch.page(page(10))
    watch.relist()
    watch.feed(bookmark(20))
    assert watch.listing
    assert "watch" not in watch.request().query


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    watch = Known().watch()
    watch.page(page(10))
    watch.feed(b"x" * (9 << 20))
    with pytest.raises(msgspec.DecodeError, match="more than 16777216 bytes"):
        watch.feed(b"x" * (9 << 20))


def test_age_counts_from_what_came_last() -> None:
    now = [100.0]
    watch = Known().watch(clock=lambda: now[0])
    now[0] = 105.0
    assert (watch.age, watch.connected) == (5.0, False)
    watch.page(page(10))
    now[0] = 106.0
    assert (watch.age, watch.connected) == (1.0, True)
    watch.ended(UnreachableError("gone"))
    assert not watch.connected


def test_an_answer_that_ends_at_once_is_not_asked_for_without_a_pause() -> None:
    watch = Known().watch()
    watch.page(page(10))
    watch.request()
    watch.feed(b"")
    assert watch.ended() > 0
    watch.request()
    watch.feed(bookmark(11))
    assert watch.ended() == 0


def test_delays_double_up_to_a_limit() -> None:
    backoff = Backoff(1.0, 4.0)
    for low, high in ((0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (2.0, 4.0)):
        assert low <= backoff.delay() <= high
    backoff.reset()
    assert backoff.delay() <= 1.0


def test_a_loss_is_logged_once_from_the_first_list_on() -> None:
    watch = ListWatch("/things", Thing, listed=lambda _: None, changed=lambda _: None)
    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": []}).encode()
    with capture_logs() as logs:
        watch.ended(ApiError(403, "things is forbidden"))
        watch.ended(ApiError(403, "things is forbidden"))
        watch.page(body)
        watch.ended(UnreachableError("no answer"))
    assert [entry["event"] for entry in logs] == ["api_watch_lost", "api_watch_connected", "api_watch_lost"]
    assert "forbidden" in logs[0]["error"]


def test_a_large_list_is_passed_on_page_by_page_and_not_held() -> None:
    came: list[tuple[list[str], bool]] = []
    ends: list[list[Thing]] = []
    watch = ListWatch(
        "/things",
        Thing,
        listed=lambda items: ends.append(list(items)),
        changed=lambda events: None,
        arriving=lambda items, first: came.append(([item.metadata.name for item in items], first)),
        limit=2,
    )
    for names, more in ((["a", "b"], "next"), (["c"], "")):
        watch.request()
        items = [{"metadata": {"name": name}} for name in names]
        meta = {"resourceVersion": "7", "continue": more}
        watch.page(json.dumps({"metadata": meta, "items": items}).encode())
        assert bool(more) is not bool(ends)
    assert came == [(["a", "b"], True), (["c"], False)]
    assert ends == [[]]
    watch.relist()
    watch.request()
    watch.page(json.dumps({"metadata": {"resourceVersion": "8"}, "items": []}).encode())
    assert came[-1] == ([], True)

"""Where RPF information comes from: nowhere, static entries, or another process's Unix socket.

Every failure of a provider is counted and means that the check fails: a source whose way is unknown
is not believed to come from anywhere.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from quilt_log import log
from quilt_pim.core import config, rpf_wire
from quilt_pim.core.rpf import RpfInfo, StaticRoutes
from quilt_pim.core.validate import ControlError
from quilt_pim.counters import Counters
from quilt_pim.unix import credentials

# Seconds for a provider to connect and answer.
TIMEOUT = 1.0
# Questions on their way at once.
_PARALLEL = 32
# Sources whose answers are kept at once; the oldest makes room.
CAPACITY = 16384

Value = TypeVar("Value")


class LookupFailedError(ControlError):
    """The provider could not be asked or its answer means nothing."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: `info` is None where there is no route, and `reason` says so; `cached` if it was known."""

    info: RpfInfo | None
    reason: str = ""
    cached: bool = False

    @property
    def passed(self) -> bool:
        """Whether a check passes: every one does while checks are disabled."""
        return self.info is not None or self == UNCHECKED


UNCHECKED = Found(None, "RPF checks are disabled")


class TtlCache(Generic[Value]):
    """Values by key for `ttl` seconds of the clock that callers pass; a ttl of 0 keeps nothing."""

    def __init__(self, ttl: float, capacity: int = CAPACITY) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._held: OrderedDict[str, tuple[float, Value | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str, now: float) -> Value | None:
        """The value while it is fresh."""
        expires, value = self._held.get(key, (now, None))
        if expires > now:
            return value
        self._held.pop(key, None)
        return None

    def put(self, key: str, value: Value, now: float) -> None:
        """Keep a value from now on."""
        if self._ttl <= 0:
            return
        self._held.pop(key, None)
        self._held[key] = (now + self._ttl, value)
        # All live equally long, so the first is always the oldest.
        while self._held and (len(self._held) > self._capacity or next(iter(self._held.values()))[0] <= now):
            self._held.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: what was asked may be answered otherwise now."""
        self._held.clear()


class RpfProvider:
    """The configured provider, with its cache and its static entries."""

    def __init__(self, provider: str, ttl: float, counters: Counters, timeout: float = TIMEOUT) -> None:
        self.provider = provider
        self.static = StaticRoutes()
        self._counters = counters
        self._timeout = timeout
        self._cache: TtlCache[Found] = TtlCache(ttl)
        self._asking: dict[str, asyncio.Task[Found]] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)

    def wire(self) -> dict[str, Any]:
        """What GetRpfProvider shows."""
        counts = self._counters
        return {
            "provider": self.provider,
            "static_entries": len(self.static),
            "cached_entries": len(self._cache),
            "queries": counts["rpf_queries"],
            "cache_hits": counts["rpf_cache_hits"],
            "cache_misses": counts["rpf_cache_misses"],
            "timeouts": counts["rpf_timeouts"],
            "invalid_answers": counts["rpf_invalid"],
            "unreachable": counts["rpf_unreachable"],
            "no_route": counts["rpf_no_route"],
        }

    def choose(self, provider: str) -> None:
        """Take another provider; ControlError when its socket is not there or not to be trusted."""
        if provider not in (config.DISABLED, config.STATIC):
            check_socket(provider)
        self.provider = provider
        # Cached answers do not count any more, nor do those on their way.
        self._cache.clear()
        self._asking.clear()
        log.info("rpf_provider_chosen", provider=provider)

    async def lookup(self, source: str) -> Found:
        """The way to a source; LookupFailedError when the provider fails."""
        if self.provider == config.DISABLED:
            return UNCHECKED
        self._counters["rpf_queries"] += 1
        provider = self.provider
        if provider == config.STATIC:
            info = self.static.lookup(source)
            found = Found(info, "" if info else f"no static RPF route holds {source}")
        else:
            found = await self._ask(source)
            if provider != self.provider:
                # Another one was chosen while this one was asked: its answer counts no longer.
                return await self.lookup(source)
        if found.info is None:
            self._counters["rpf_no_route"] += 1
        return found

    async def arrives(self, source: str, interface: str | None) -> Found:
        """Check traffic or an announcement of a source: it must come in where the source is upstream."""
        found = await self._check(source)
        upstream = found.info and found.info.upstream_interface
        if upstream is None or interface in (None, upstream):
            return found
        return Found(None, f"{source} is upstream on {upstream}, not on {interface}")

    async def joins(self, source: str, interface: str) -> Found:
        """Check a Join or Prune: the source must be reachable, and not back over where the join came from."""
        found = await self._check(source)
        if found.info is None or found.info.upstream_interface != interface:
            return found
        return Found(None, f"{source} is upstream on {interface} itself: joining there is a loop")

    async def _check(self, source: str) -> Found:
        try:
            return await self.lookup(source)
        except LookupFailedError as error:
            return Found(None, str(error))

    async def _ask(self, source: str) -> Found:
        cached = self._cache.get(source, time.monotonic())
        if cached is not None:
            self._counters["rpf_cache_hits"] += 1
            return replace(cached, cached=True)
        self._counters["rpf_cache_misses"] += 1
        task = self._asking.get(source)
        if task is None:
            # One question for all who wait for the same answer, and none of them can cancel the others'.
            task = self._asking[source] = asyncio.create_task(self._ask_socket(source))
            task.add_done_callback(lambda done: self._answered(source, done))
        return await asyncio.shield(task)

    def _answered(self, source: str, task: asyncio.Task[Found]) -> None:
        failed = task.cancelled() or task.exception() is not None
        # A question that was forgotten meanwhile, as the provider changed, is not worth keeping.
        if self._asking.get(source) is task:
            del self._asking[source]
            if not failed:
                self._cache.put(source, task.result(), time.monotonic())

    async def _ask_socket(self, source: str) -> Found:
        path = self.provider
        try:
            async with self._slots, asyncio.timeout(self._timeout):
                answer = rpf_wire.parse_answer(await _exchange(path, source))
        except TimeoutError as error:
            raise self._failed(
                "rpf_timeouts", f"did not answer within {self._timeout:g} s", source
            ) from error
        except rpf_wire.InvalidAnswerError as error:
            raise self._failed("rpf_invalid", f"gave an invalid answer: {error}", source) from error
        except (OSError, ControlError) as error:
            raise self._failed("rpf_unreachable", f"cannot be asked: {error}", source) from error
        if isinstance(answer, RpfInfo):
            return Found(answer)
        return Found(None, f"the RPF provider has no route to {source}: {answer}")

    def _failed(self, counter: str, why: str, source: str) -> LookupFailedError:
        self._counters[counter] += 1
        return LookupFailedError(f"RPF of {source}: the provider {self.provider} {why}")


def check_socket(path: str) -> None:
    """Refuse what is no socket, or could be somebody else's: ControlError says why."""
    mine = (0, os.geteuid())
    try:
        held, folder = os.lstat(path), Path(path).parent.stat()
    except OSError as error:
        raise ControlError(f"RPF provider {path}: {error.strerror}; start the provider first") from error
    if not stat.S_ISSOCK(held.st_mode):
        raise ControlError(f"RPF provider {path} is not a Unix socket")
    if held.st_uid not in mine or held.st_mode & stat.S_IWOTH:
        raise ControlError(
            f"RPF provider {path} belongs to uid {held.st_uid} with mode {stat.S_IMODE(held.st_mode):04o}; "
            "it must belong to root and not be writable by everybody"
        )
    open_to_all = folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX
    if folder.st_uid not in mine or open_to_all:
        raise ControlError(f"RPF provider {path}: others can replace it, as they can write its folder")


async def _exchange(path: str, source: str) -> bytes:
    check_socket(path)
    reader, writer = await asyncio.open_unix_connection(path, limit=rpf_wire.MAX_MESSAGE)
    try:
        uid = credentials(writer.get_extra_info("socket")).uid
        if uid not in (0, os.geteuid()):
            raise ControlError(f"its process runs as uid {uid}, not as root")
        writer.write(rpf_wire.query(source))
        await writer.drain()
        try:
            return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            return end.partial
        except asyncio.LimitOverrunError as error:
            raise rpf_wire.InvalidAnswerError(f"longer than {rpf_wire.MAX_MESSAGE} bytes") from error
    finally:
        writer.close()

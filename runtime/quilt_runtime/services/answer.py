"""How every service answers: work runs in a thread, an error becomes text in the response, never a crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from quilt_netlink import NetlinkError
from quilt_runtime.core.errors import RequestError
from quilt_runtime.metrics import Metrics
from quilt_runtime.state import StateError

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value, or the text of what went wrong."""

    value: T | None
    error: str = ""

    @property
    def success(self) -> bool:
        """Whether there is a value."""
        return not self.error


async def answer(metrics: Metrics, method: str, work: Callable[[], T], *, short: bool = False) -> Answer[T]:
    """Do `work` off the event loop, or at once where it is `short`; log and count what fails.

    Short is what takes less than the way to a thread and back (0.2 ms): a few system calls, and no lock that
    is held for long by others.
    """
    if short:
        return answer_now(metrics, method, work)
    return await asyncio.to_thread(answer_now, metrics, method, work, time.perf_counter())


def answer_now(metrics: Metrics, method: str, work: Callable[[], T], begun: float | None = None) -> Answer[T]:
    """Do `work` here, asked for at `begun` (perf_counter; None: now); log and count what fails."""
    begun = time.perf_counter() if begun is None else begun
    try:
        return Answer(work())
    except (RequestError, NetlinkError, StateError) as error:
        log.info("rpc_refused", method=method, reason=str(error))
        text = str(error)
    except Exception:
        log.exception("rpc_failed", method=method)
        text = f"{method} failed inside the runtime; its log has the reason"
    finally:
        metrics.rpcs.labels(method=method).observe(time.perf_counter() - begun)
    metrics.rpc_failures.labels(method=method).inc()
    return Answer(None, text)

"""Following a collection of which thousands of changes come, not one of which may be missed.

QuiltSubnets and Leases come this way: mostly echoes of what is known. 5,000 nodes renew 500 Leases a second.
As kopf events that costs 22 % of a core, as a stream read a few times a second and decoded into one small
struct a small part of that.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, TypeVar

from quilt_kube.aio import follow
from quilt_kube.listwatch import Identified, ListWatch
from quilt_log import log
from quilt_operator.api.client import Client

# Seconds.
_PAUSE = 5.0

T = TypeVar("T", bound=Identified)


class Followed(ListWatch[T]):
    """A list-watch that a task of its own follows from `start` to `stop`."""

    def __init__(self, client: Client, path: str, kind: type[T], **settings: Any) -> None:
        """Make one with the settings of a ListWatch."""
        super().__init__(path, kind, **settings)
        self._client = client
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> None:
        """Follow the collection from now on; again, with a list, on another connection than before."""
        self.stop()
        self.relist()
        self._task = asyncio.create_task(follow(self._client, self), name=f"follows-{self.name}")
        self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Follow it no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _ended(self, task: asyncio.Task[NoReturn]) -> None:
        if not task.cancelled():
            # Whatever it is: a task that ended would leave its objects unseen for good.
            log.error("follower_crashed", watch=self.name, exc_info=task.exception())
            asyncio.get_running_loop().call_later(_PAUSE, self._start_again, task)

    def _start_again(self, ended: asyncio.Task[NoReturn]) -> None:
        if self._task is ended:
            self.start()

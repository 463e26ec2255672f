"""Running something for as long as it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass
class Switch:
    """Serves while `wanted()`, which is asked after each `changed()`.

    It is None while nobody knows: then what runs continues, and nothing is started.
    """

    wanted: Callable[[], bool | None]
    serve: Callable[[], Coroutine[Any, Any, None]]

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()

    def changed(self) -> None:
        """Tell that `wanted()` may answer something else."""
        self._wake.set()

    async def run(self) -> NoReturn:
        """Follow what is wanted for ever; cancellation ends what is served as well."""
        while True:
            await self._until(True)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.serve())
                await self._until(False)
                task.cancel()

    async def _until(self, answer: bool) -> None:
        while self.wanted() is not answer:
            self._wake.clear()
            await self._wake.wait()

"""Waiting for an event or a deadline, without losing a cancellation.

asyncio.wait_for of Python 3.11 drops a cancellation that arrives together with the event (CPython gh-86296),
and then a process that was told to stop does not; asyncio.timeout has no such hole.
"""

from __future__ import annotations

import asyncio


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until the event is set, at most `seconds` (None: without limit); return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

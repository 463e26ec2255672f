"""A library that runs beside the mesh in the agent's process; `serve` composes them, the agent knows none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Feature:
    """`run` serves until cancelled; the others are called in the event loop and must not wait.

    `changed` hears that claims, settings, the device or what the runtime is configured to changed,
    `restored` that the runtime was started again; `problems` is what is wrong, as sentences for people.
    """

    run: Callable[[], Coroutine[Any, Any, None]]
    changed: Callable[[], None] = lambda: None
    restored: Callable[[], None] = lambda: None
    problems: Callable[[], Sequence[str]] = tuple

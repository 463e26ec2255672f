"""A library that runs beside the mesh in the agent's process; `serve` composes them, the agent knows none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quilt_crds.wire import Condition


@dataclass(frozen=True, slots=True)
class Feature:
    """`run` serves until cancelled; the others are called in the event loop and must not wait.

    `changed` hears that claims, settings, the device or what the runtime is configured to changed,
    `restored` that the runtime was started again; `problems` is what is wrong, as sentences for people.
    `conditions` are its own ones of the QuiltNode, always of the same types; `documents` are served as JSON
    beside the metrics, by path.
    """

    run: Callable[[], Coroutine[Any, Any, None]]
    changed: Callable[[], None] = lambda: None
    restored: Callable[[], None] = lambda: None
    problems: Callable[[], Sequence[str]] = tuple
    conditions: Callable[[], Sequence[Condition]] = tuple
    documents: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)

"""What is logged, for tests to look at."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quilt_log import Event


class _Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, Event)
        kept = {"event": record.msg.name, "log_level": record.levelname.lower(), **record.msg.fields}
        self.kept.append(kept)


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Collect the product's events of all levels: name as `event`, `log_level`, and their fields."""
    logger, keep = logging.getLogger("quilt"), _Keep()
    level = logger.level
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    try:
        yield keep.kept
    finally:
        logger.setLevel(level)
        logger.removeHandler(keep)

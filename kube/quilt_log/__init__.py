"""The log of every component: events with a stable name and fields, by the standard library's logging.

`log.info(name, node="a")` is one JSON object a line once `log_as_json` was called. Before, logging
does what it does by itself: warnings go to standard error, as text.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

_LOGGER = logging.getLogger("quilt")


@dataclass(frozen=True, slots=True)
class Event:
    """The message of a record ("Using arbitrary objects as messages" in the logging HOWTO)."""

    name: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={value!r}" for key, value in self.fields.items())))


class Log:
    """Writes events; any thread may."""

    def debug(self, event: str, /, **fields: Any) -> None:
        """Log what only who looks for a fault wants to know."""
        _write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Log a change of state."""
        _write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Log what somebody may have to look at."""
        _write(logging.WARNING, event, fields)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        """Log what failed, with the traceback of an exception where one is given."""
        _write(logging.ERROR, event, fields, exc_info)

    def exception(self, event: str, /, **fields: Any) -> None:
        """Log what failed, with the traceback of the exception that is being handled."""
        _write(logging.ERROR, event, fields, True)


log = Log()


def log_as_json(level: str, stream: TextIO) -> None:
    """Write JSON from `level` (debug, info, warning, error) up, an object a line; of libraries warnings."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    _LOGGER.setLevel(number)


def silence() -> None:
    """Write no event at all: for commands that say by themselves what happens."""
    _LOGGER.setLevel(logging.CRITICAL)


def _write(
    level: int, event: str, fields: dict[str, Any], exc_info: BaseException | bool | None = None
) -> None:
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, Event(event, fields), exc_info=exc_info)


class _Json(logging.Formatter):
    """Fields, then event, level and time (UTC), then the traceback; of a library also its logger's name."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {}
        if isinstance(record.msg, Event):
            line |= record.msg.fields
            line["event"] = record.msg.name
        else:
            line["event"] = record.getMessage()
            line["logger"] = record.name
        line["level"] = record.levelname.lower()
        line["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)

"""What a look at something came to: fine, doubtful or broken, about which object, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is. UNKNOWN: it could not be looked at, for want of permission or of a program."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result: `code` is stable for machines, `about` names the object, `todo` is the next step."""

    level: Level
    code: str
    about: str
    message: str
    todo: str = ""

    def wire(self) -> dict[str, str]:
        """JSON form; the keys are part of the command's interface."""
        return {
            "level": self.level.value,
            "code": self.code,
            "object": self.about,
            "message": self.message,
            "todo": self.todo,
        }


def ok(code: str, about: str, message: str) -> Finding:
    """Something that is as it should be."""
    return Finding(Level.OK, code, about, message)


def unknown(code: str, about: str, message: str, todo: str = "") -> Finding:
    """Something that could not be looked at."""
    return Finding(Level.UNKNOWN, code, about, message, todo)


def warn(code: str, about: str, message: str, todo: str) -> Finding:
    """Something that works, or may work, but not well."""
    return Finding(Level.WARN, code, about, message, todo)


def fail(code: str, about: str, message: str, todo: str) -> Finding:
    """Something that does not work."""
    return Finding(Level.FAIL, code, about, message, todo)


_ORDER = {Level.FAIL: 0, Level.WARN: 1, Level.UNKNOWN: 2, Level.OK: 3}

EXIT_HEALTHY, EXIT_PROBLEMS, EXIT_CANNOT_TELL = 0, 1, 2


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sorted by severity, else in the given order."""
    return sorted(findings, key=lambda item: _ORDER[item.level])


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing is broken; doubts do not count."""
    return all(item.level is not Level.FAIL for item in findings)


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each level."""
    counts = dict.fromkeys((level.value for level in Level), 0)
    for item in findings:
        counts[item.level.value] += 1
    return counts


def wire(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """JSON form of several."""
    return [item.wire() for item in findings]

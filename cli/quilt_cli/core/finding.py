"""What a look at something came to: fine, doubtful or broken, about which object, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

EXIT_HEALTHY, EXIT_PROBLEMS, EXIT_CANNOT_TELL = 0, 1, 2


class StoppedError(Exception):
    """A command cannot go on; the text says why and what to do, and people read `lead` before it."""

    lead = ""
    exit_code = EXIT_CANNOT_TELL


class CannotTellError(StoppedError):
    """What was asked for cannot be found out."""

    lead = "cannot tell: "


class Level(StrEnum):
    """How bad it is, the best first. UNKNOWN: not looked at, for want of permission or of a program."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True, rename={"about": "object"}):
    """One result: `code` is stable for machines, `about` names the object, `todo` is the next step.

    The names of its JSON form are part of the command's interface.
    """

    level: Level
    code: str
    about: str
    message: str
    todo: str = ""


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


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sorted by severity, else in the given order."""
    levels = list(Level)
    return sorted(findings, key=lambda item: -levels.index(item.level))


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing is broken; doubts do not count."""
    return all(item.level is not Level.FAIL for item in findings)


def summary(findings: Iterable[Finding]) -> dict[Level, int]:
    """How many of each level."""
    return dict.fromkeys(Level, 0) | Counter(item.level for item in findings)

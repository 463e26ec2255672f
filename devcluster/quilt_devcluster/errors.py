"""Errors that reach a person: what failed, on what, the end of its log, and what to do about it."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 15


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last `lines` lines of `text`, indented for reading below a message."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])


class DevclusterError(Exception):
    """A step of the devcluster failed.

    `message` says what failed and on what, `hint` what to do, `log` is the file that holds the whole story
    and whose end is shown, `output` is shown instead of it where there is no file.
    """

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log
        self.output = output

    def __str__(self) -> str:
        parts = [self.message]
        if self.log is not None and self.log.exists():
            parts.append(f"  the end of {self.log}:\n{tail(self.log.read_text(errors='replace'))}")
        elif self.output.strip():
            parts.append(tail(self.output))
        if self.hint:
            parts.append(f"  What to do: {self.hint}")
        return "\n".join(parts)

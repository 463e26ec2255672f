"""One step of the way, and the answer that all of them are."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS


class Verdict(StrEnum):
    """What a step came to; UNKNOWN: it could not be looked at, or what is there cannot be judged."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Step(Struct, frozen=True):
    """One step: `code` is stable for machines, `node` is where, `see` the command that shows it by hand."""

    code: str
    node: str
    what: str
    expected: str
    found: str
    verdict: Verdict
    see: str = ""

    @property
    def place(self) -> str:
        """What it is about, with its node."""
        return f"{self.what} on {self.node}" if self.node else self.what


class Counter(Struct, frozen=True):
    """What a device or a rule counted while the probes ran."""

    node: str
    what: str
    packets: int


class Trace(Struct, frozen=True, tag_field="kind", tag="QuiltTrace"):
    """The answer of `quiltctl trace`; `number` is that of the first broken step, from 1, None without one.

    `sound` is None where that is not known; `taken` is when the archive was that it is of, if it is of one.
    """

    schema: int
    source: str
    target: str
    way: str
    sound: bool | None
    number: int | None
    steps: tuple[Step, ...]
    counters: tuple[Counter, ...] = ()
    taken: str = ""

    @property
    def broken(self) -> Step | None:
        """The first broken step."""
        return self.steps[self.number - 1] if self.number is not None else None

    @property
    def exit_code(self) -> int:
        """0 sound, 1 a step is broken, 2 cannot tell."""
        return {True: EXIT_HEALTHY, False: EXIT_PROBLEMS, None: EXIT_CANNOT_TELL}[self.sound]


def judged(
    ends: tuple[str, str], way: str, steps: tuple[Step, ...], counters: tuple[Counter, ...] = ()
) -> Trace:
    """Put steps together. What packets did pass is sound, whatever of it could not be looked at."""
    number = next((at for at, step in enumerate(steps, 1) if step.verdict is Verdict.BROKEN), None)
    measured = [step.verdict for step in steps if step.code in MEASURED]
    passed = bool(measured) and all(verdict is Verdict.OK for verdict in measured)
    known = passed or all(step.verdict is Verdict.OK for step in steps)
    sound = False if number is not None else True if known else None
    return Trace(1, *ends, way, sound, number, steps, counters)


UNDERLAY, UNDERLAY_MTU, ANSWER = "underlay", "underlay-mtu", "answer"
MEASURED = frozenset({UNDERLAY, UNDERLAY_MTU, ANSWER})
"""Codes of the steps that are measured with packets."""


def step(code: str, node: str, what: str, expected: str, found: str, see: str, *, ok: bool | None) -> Step:
    """A step that is as it should be, or is not, or (None) cannot be judged."""
    verdict = {True: Verdict.OK, False: Verdict.BROKEN, None: Verdict.UNKNOWN}[ok]
    return Step(code, node, what, expected, found, verdict, see)

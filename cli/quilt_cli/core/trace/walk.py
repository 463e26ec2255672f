"""A packet's walk through a chain of any firewall, whose rules are given as what they come to for it.

Three-valued: a rule whose conditions are not known neither matches nor fails to. A drop behind such a rule
is certain where none of them could have let the packet pass before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from quilt_cli.core.trace.packet import PASSES, Fate, Outcome

_DEEPEST = 16  # jumps of jumps, as the kernel has it
ACCEPT, DROP, RETURN, JUMP, GOTO, NONE = "accept", "drop", "return", "jump", "goto", ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule comes to for a packet: whether it matches, and its verdict; `chain` of a jump or goto."""

    matches: bool | None
    verdict: str
    text: str
    chain: str = ""


Rules = Callable[[str], Iterable[Ruling]]
"""The rulings of a chain, in order."""


@dataclass(slots=True)
class _Walk:
    """One packet's walk: rules that may have let it pass, and such that may have dropped it."""

    rules: Rules
    passing: list[str] = field(default_factory=list)
    dropping: list[str] = field(default_factory=list)


def walk(name: str, policy: Outcome, rules: Rules) -> Outcome:
    """Return what a base chain comes to; `policy` is for what no rule decides."""
    here = _Walk(rules)
    found = _chain(here, name, 0) or policy
    if found.fate is Fate.DROPPED and here.passing:
        return Outcome(Fate.UNCLEAR, found.rule)
    if found.fate is Fate.PASSES and here.dropping:
        return Outcome(Fate.UNCLEAR, here.dropping[0])
    return found


def _chain(here: _Walk, name: str, depth: int) -> Outcome | None:
    """The verdict of a chain; None where it returns."""
    for rule in here.rules(name) if depth <= _DEEPEST else ():
        if rule.matches is False or rule.verdict == NONE:
            continue
        certain = rule.matches is True
        if rule.verdict == RETURN:
            if certain:
                return None
            here.passing.append(rule.text)
            continue
        found = _ruling(here, rule, depth)
        if found is None:
            if certain and rule.verdict == GOTO:
                return None
        elif certain:
            return found
        else:
            (here.dropping if found.fate is Fate.DROPPED else here.passing).append(found.rule or rule.text)
    return None


def _ruling(here: _Walk, rule: Ruling, depth: int) -> Outcome | None:
    if rule.verdict in (JUMP, GOTO):
        return _chain(here, rule.chain, depth + 1)
    return Outcome(Fate.DROPPED, rule.text) if rule.verdict == DROP else PASSES

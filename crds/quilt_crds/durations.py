"""Durations and percentages as people write them in a spec: `10s`, `1m30s`, `500ms`, `55%`."""

from __future__ import annotations

import re
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
PERCENT_PATTERN: Final = r"^(100|[1-9]?[0-9])%$"

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of a duration in Go's notation without a sign; ValueError says what was expected."""
    if not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise ValueError(f"{text!r} is not a duration; write for example 10s, 1m30s or 500ms")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def parse_percent(text: str) -> float:
    """Fraction (0.0 to 1.0) of a whole percentage such as `55%`; ValueError says what was expected."""
    if not re.fullmatch(PERCENT_PATTERN, text, re.ASCII):
        raise ValueError(f"{text!r} is not a percentage; write for example 55%")
    return int(text[:-1]) / 100

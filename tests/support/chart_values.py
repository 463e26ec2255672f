"""Values of the chart, laid over each other."""

from __future__ import annotations

import copy
from typing import Any


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of the path a.b."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """Values over each other, as Helm lays them."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(whole.get(key), dict)
            whole[key] = merged(whole[key], value) if both else copy.deepcopy(value)
    return whole

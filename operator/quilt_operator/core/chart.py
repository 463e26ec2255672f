"""What the chart owns of a QuiltNetwork's spec, against what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Lists that may only grow: an administrator's entries are kept beside the chart's.
_EXTENDABLE = ("clusterCIDRs", "clusterCIDRsV6")
# Lists whose order says something; of the others it does not.
_ORDERED = ("cidrs",)
# An Event has room for 1 KiB.
_SHOWN = 100


def covers(live: Mapping[str, Any], chart: Mapping[str, Any]) -> bool:
    """Whether `live` already says everything that the chart says."""
    return not differences(live, chart)


def differences(live: Mapping[str, Any], chart: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What the chart says otherwise than `live`, a phrase for each field."""
    found = []
    for key, wanted in chart.items():
        held, name = live.get(key), f"{prefix}{key}"
        if isinstance(wanted, Mapping) and isinstance(held, Mapping):
            found += differences(held, wanted, f"{name}.")
        elif not _covers_field(key, held, wanted):
            found.append(f"{name} was {_shown(held)}, the chart says {_shown(wanted)}")
    return found


def merged(live: Mapping[str, Any], chart: Mapping[str, Any]) -> dict[str, Any]:
    """What to apply: the chart's fields, with the entries of `live` kept in lists that may only grow."""
    result = dict(chart)
    for key in _EXTENDABLE:
        if key in chart:
            old = [item for item in live.get(key) or [] if isinstance(item, str)]
            result[key] = old + [item for item in chart[key] or [] if item not in old]
    return result


def _covers_field(key: str, live: Any, wanted: Any) -> bool:
    if key in _EXTENDABLE:
        return set(wanted or ()) <= set(live or ())
    if isinstance(live, list) and isinstance(wanted, list) and key not in _ORDERED:
        return set(live) == set(wanted)
    return bool(live == wanted)


def _shown(value: Any) -> str:
    return json.dumps(value)[:_SHOWN]

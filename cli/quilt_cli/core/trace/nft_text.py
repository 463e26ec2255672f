"""Rules of nftables for people, of which `nft -j` has the parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from quilt_cli.core.trace.kernel import Plain


def text_of(rule: Plain) -> str:
    """A rule for people: where it is, and what it says, as far as that is short."""
    where = f"{rule.get('family')} {rule.get('table')} {rule.get('chain')}"
    return f"{where}: {' '.join(_words(rule.get('expr') or ()))}".rstrip(": ")


def _words(expressions: Iterable[Plain]) -> Iterator[str]:
    for item in expressions:
        kind, what = next(iter(item.items()))
        if kind == "match":
            op = "" if what.get("op") in ("==", "in") else f"{what.get('op')} "
            yield f"{_word(what.get('left'))} {op}{_word(what.get('right'))}"
        elif kind == "xt":
            yield f"xt {(what or {}).get('name', '?')}"
        elif kind in ("jump", "goto"):
            yield f"{kind} {what.get('target')}"
        elif kind not in ("counter", "log"):
            yield str(kind)


def _word(value: Any) -> str:
    if not isinstance(value, Mapping) or not value:
        return str(value)
    kind, what = next(iter(value.items()))
    if kind == "payload" and isinstance(what, Mapping):
        return f"{what.get('protocol', '@th')} {what.get('field', what.get('offset'))}"
    if kind in ("meta", "ct") and isinstance(what, Mapping):
        return f"{'ct ' if kind == 'ct' else ''}{what.get('key')}"
    if kind == "prefix":
        return f"{what['addr']}/{what['len']}"
    if kind == "range":
        return "-".join(map(str, what))
    if kind == "set" and isinstance(what, list):
        return f"{{ {', '.join(map(_word, what))} }}"
    return json.dumps(value)

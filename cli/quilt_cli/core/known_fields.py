"""Fields that a schema does not know: names that were mistyped, or that another version has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def paths(schema: Schema, path: str = "") -> Iterator[str]:
    """Every field that a CRD's schema has, dotted."""
    for name, part in (schema.get("properties") or {}).items():
        below = f"{path}.{name}".lstrip(".")
        yield below
        yield from paths(part, below)
    if "items" in schema:
        yield from paths(schema["items"], path)


def unknown(value: Any, schema: Schema, *, closed: bool, path: str = "") -> Iterator[str]:
    """Fields of a value that its schema lacks, dotted.

    `closed`: an object that names its properties has no others, as in a CRD. Else `additionalProperties`
    must say so, as in the schema of a chart's values, which may refer to its `$defs`.
    """
    yield from _unknown(value, schema, schema, closed, path)


def _unknown(value: Any, schema: Schema, whole: Schema, closed: bool, path: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            yield from _unknown(item, schema["items"], whole, closed, f"{path}[]")
    if not isinstance(value, dict):
        return
    known = schema.get("properties") or {}
    refuses = schema.get("additionalProperties") is False or (closed and bool(known))
    for name, part in value.items():
        below = f"{path}.{name}".lstrip(".")
        if name in known:
            yield from _unknown(part, known[name], whole, closed, below)
        elif refuses:
            yield below

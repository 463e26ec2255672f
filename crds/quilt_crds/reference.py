"""The reference of the API for people (`docs/crds.md`), from the schemas that the API server enforces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from quilt_crds.definition import Definition
from quilt_crds.definitions import DEFINITIONS

_HEAD = """\
# API reference: quilt.io/v1alpha1

Generated from `crds/quilt_crds` by `python -m quilt_crds.generate`. All kinds are cluster-scoped.
`kubectl explain quiltnetwork.spec` shows the same; `kubectl get quilt` lists all objects of the group.
"""


def reference() -> str:
    """The whole document, in Markdown."""
    return "\n".join([_HEAD, *(line for definition in DEFINITIONS for line in _kind(definition))])


def _kind(definition: Definition) -> Iterator[str]:
    schema = definition.schema()
    narrow, wide = (
        " ".join(column["name"].upper() for column in definition.columns if ("priority" in column) is shown)
        for shown in (False, True)
    )
    yield f"## {definition.resource.kind} (`{definition.resource.short}`)\n"
    yield f"{schema['description']}\n"
    yield f"Columns: NAME {narrow}; with `-o wide` also {wide}.\n"
    yield "| field | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, part in schema["properties"].items():
        if name not in ("apiVersion", "kind", "metadata"):
            yield from _rows(name, part)
    yield "\nRules that the API server enforces:\n"
    yield from _rules("", schema)
    yield ""


def _rows(path: str, schema: dict[str, Any]) -> Iterator[str]:
    default = schema.get("default")
    shown = "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"
    yield f"| `{path}` | {_type(schema)} | {shown} | {_cell(schema.get('description', ''))} |"
    for name, part in schema.get("properties", {}).items():
        yield from _rows(f"{path}.{name}", part)
    for name, part in schema.get("items", {}).get("properties", {}).items():
        yield from _rows(f"{path}[].{name}", part)


def _cell(text: str) -> str:
    """Text as it can be in a table: on one line, without a pipe that would end the cell."""
    return " ".join(text.split()).replace("|", "&#124;")


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {schema['items']['type']}s, at most {schema['maxItems']}"
    if "x-kubernetes-int-or-string" in schema:
        return "integer or string"
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['type']}, {schema['minimum']} to {schema['maximum']}"
    return str(schema.get("format") if schema.get("format") == "date-time" else schema["type"])


def _rules(path: str, schema: dict[str, Any]) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        text = rule.get("message") or f"must satisfy `{rule['rule']}`"
        yield f"- {f'`{path}` ' if path else ''}{text}"
    for name, part in schema.get("properties", {}).items():
        yield from _rules(f"{path}.{name}".removeprefix("."), part)

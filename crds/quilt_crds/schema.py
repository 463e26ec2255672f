"""From a pydantic model's JSON schema to the structural schema that a CustomResourceDefinition demands.

Structural means: every value has one type, stated in place. So references are inlined, "or null" is dropped
(the API server prunes a null, which is what an absent field means to us), and a constant becomes an enum.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from typing import Any, cast

from quilt_crds.base import ApiModel

Schema = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)


def structural_schema(model: type[ApiModel], *, defaults_in: tuple[str, ...] = ()) -> Schema:
    """Structural schema of a whole object; only the properties named in `defaults_in` keep their defaults.

    Defaults elsewhere would make the API server write fields that no writer owns.
    """
    source = model.model_json_schema(by_alias=True)
    definitions = source.get("$defs", {})
    properties = {
        name: _convert(value, definitions, keep_defaults=name in defaults_in)
        for name, value in source["properties"].items()
        if name != "metadata"
    }
    required = [name for name in source.get("required", []) if name != "metadata"]
    envelope = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    return {
        "description": source["description"],
        "type": "object",
        **({"required": required} if required else {}),
        "properties": envelope | {name: _without_default(value) for name, value in properties.items()},
    }


def schema_at(schema: Schema, path: str) -> Schema:
    """The part of a structural schema at a dotted path of properties; the empty path is the whole."""
    for name in filter(None, path.split(".")):
        schema = schema["properties"][name]
    return schema


def _convert(source: Schema, definitions: Schema, *, keep_defaults: bool) -> Schema:
    source = _resolve(source, definitions)
    result = {key: source[key] for key in _KEPT if key in source}
    if "const" in source:
        result["enum"] = [source["const"]]
    if source.get("type") == "integer":
        result["format"] = "int64"
    if "anyOf" in source:
        result |= _int_or_string(source)
    if "items" in source:
        result["items"] = _convert(source["items"], definitions, keep_defaults=keep_defaults)
    if "properties" in source:
        result["properties"] = {
            name: _convert(value, definitions, keep_defaults=keep_defaults)
            for name, value in source["properties"].items()
        }
    if keep_defaults and source.get("default") is not None:
        # Whole for an object too: the server checks a default by the CEL rules before it fills it.
        result["default"] = source["default"]
    return result


def _resolve(source: Schema, definitions: Schema) -> Schema:
    """`source` with its reference inlined and "or null" dropped; what is beside them wins."""
    beside = {key: value for key, value in source.items() if key not in ("$ref", "anyOf")}
    if "$ref" in source:
        target = cast(Schema, definitions[source["$ref"].removeprefix("#/$defs/")])
        return _resolve(target, definitions) | beside
    if "anyOf" in source:
        choices = [choice for choice in source["anyOf"] if choice != {"type": "null"}]
        if len(choices) == 1:
            return _resolve(choices[0], definitions) | beside
    return source


def _int_or_string(source: Schema) -> Schema:
    types = sorted(choice.get("type", "?") for choice in source["anyOf"])
    if types != ["integer", "string"]:
        raise ValueError(f"a structural schema cannot express the choice between {' and '.join(types)}")
    return {"x-kubernetes-int-or-string": True}


def _without_default(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "default"}

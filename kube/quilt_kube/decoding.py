"""JSON of the API to msgspec structs, whatever an older or newer release wrote.

What does not fit reads as absent: one odd field must not hide an object, and one odd object must not stop a
watch. Who uses a value judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S")


def convert(raw: Any, kind: type[S]) -> S:
    """Make a struct of decoded JSON, with defaults for what is missing or does not fit. Raises nothing."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        given = raw if isinstance(raw, Mapping) else {}
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]  # structs alone get here
        read = {field.name: _fitting(given.get(field.encode_name), field.type) for field in fields}
        return kind(**{name: value for name, value in read.items() if value is not None})


def _fitting(value: Any, kind: Any) -> Any:
    """Return what fits of a field's value: of a struct its fields, of a list its items; None for nothing."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return convert(value, kind) if isinstance(value, Mapping) else None
    if isinstance(value, list) and get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(item for raw in value if (item := _fitting(raw, inner)) is not None)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None

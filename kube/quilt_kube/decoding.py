"""Objects into msgspec structs, whatever an older or newer release wrote: what does not fit reads as absent.

One odd field must not hide an object, and one odd object must not stop a watch; who uses a value judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec

T = TypeVar("T")


def decoder(kind: type[T]) -> Callable[[bytes | msgspec.Raw], T]:
    """Return a function from JSON to a struct of this kind; msgspec.DecodeError for what is not JSON."""
    strict = msgspec.json.Decoder(kind).decode

    def decode(text: bytes | msgspec.Raw) -> T:
        try:
            return strict(text)
        except msgspec.ValidationError:
            return convert(msgspec.json.decode(text), kind)

    return decode


def convert(raw: Any, kind: type[T]) -> T:
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

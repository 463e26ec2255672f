"""JSON of the API to msgspec structs, whatever an older or newer release wrote.

What does not fit reads as absent: one odd field must not hide an object, and one odd object must not stop a
watch. Who uses a value judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from quilt_kube.request import not_kubernetes

S = TypeVar("S")


class _Meta(msgspec.Struct, rename={"resource_version": "resourceVersion", "more": "continue"}):
    resource_version: str = ""
    more: str = ""


class _List(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None


class Page(NamedTuple):
    """A list, or a part of one: objects that are not decoded yet, resourceVersion, token of the next part."""

    items: list[msgspec.Raw]
    version: int
    more: str


_decode = msgspec.json.Decoder(_List).decode


def decode_page(body: bytes) -> Page:
    """Return what a list's answer holds. Raises UnreachableError when it is not a list."""
    try:
        found = _decode(body)
        return Page(found.items or [], int(found.metadata.resource_version), found.metadata.more)
    except (msgspec.MsgspecError, ValueError) as error:
        raise not_kubernetes(body) from error


def decode_list(body: bytes, kind: type[S]) -> tuple[Iterator[S], int]:
    """Return a list's objects, each decoded as `kind` while it is read, and its resourceVersion.

    Raises UnreachableError when it is not a list.
    """
    page = decode_page(body)
    return map(decoder(kind), page.items), page.version


def decoder(kind: type[S]) -> Callable[[bytes | msgspec.Raw], S]:
    """Return a function from JSON to a struct of this kind; msgspec.DecodeError for what is not JSON."""
    strict = msgspec.json.Decoder(kind).decode

    def decode(text: bytes | msgspec.Raw) -> S:
        try:
            return strict(text)
        except msgspec.ValidationError:
            return convert(msgspec.json.decode(text), kind)

    return decode


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

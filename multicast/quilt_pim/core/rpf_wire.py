"""The RPF query protocol, both ends of it: `{"query":"rpf","source":…}` and the answer to that.

A message ends with a newline or with the end of the stream.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec

from quilt_pim.core import validate
from quilt_pim.core.rpf import RpfInfo, Upstream
from quilt_pim.core.validate import ControlError

# Longest message either side accepts.
MAX_MESSAGE = 4096


class InvalidAnswerError(Exception):
    """A provider's answer that means nothing."""


def query(source: str) -> bytes:
    """The request for one source."""
    return json.dumps({"query": "rpf", "source": source}).encode() + b"\n"


def answer(line: bytes, upstream: Upstream) -> bytes:
    """The answer to a request by the mesh: the way, an explicit no-route, or what is wrong with it."""
    try:
        source = _source(decode_object(line))
    except ControlError as error:
        return refusal(str(error))
    info = upstream(source)
    document = asdict(info) if info else {"error": f"no route: {source} is in no subnet of the mesh"}
    return json.dumps(document).encode() + b"\n"


def refusal(message: str) -> bytes:
    """The answer to a request that cannot be read."""
    return json.dumps({"error": message}).encode() + b"\n"


def parse_answer(line: bytes) -> RpfInfo | str:
    """A provider's answer: the information, or its own words for why it has nothing."""
    try:
        document = decode_object(line)
        if "error" in document:
            return validate.shown(document["error"])
        return read_info(document)
    except ControlError as error:
        raise InvalidAnswerError(str(error)) from error


def read_info(document: dict[str, Any]) -> RpfInfo:
    """RPF information from a JSON object; fields beyond the three are ignored."""
    interface, neighbor, metric = (document.get(name) for name in RpfInfo.__dataclass_fields__)
    if not isinstance(interface, str):
        raise ControlError("upstream_interface: a name is missing")
    if neighbor is not None and not isinstance(neighbor, str):
        raise ControlError(f"upstream_neighbor: {validate.shown(neighbor)} is not an address")
    if metric is not None and not isinstance(metric, int):
        raise ControlError(f"metric: {validate.shown(metric)} is not a whole number")
    return RpfInfo(
        validate.interface("upstream_interface", interface),
        None if neighbor is None else validate.host("upstream_neighbor", neighbor),
        None if metric is None else validate.u32("metric", metric),
    )


def decode_object(line: bytes) -> dict[str, Any]:
    """One JSON object; ControlError for everything else."""
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(f"This is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ControlError("A message is one JSON object, in braces")
    return document


def _source(request: dict[str, Any]) -> str:
    if request.get("query") != "rpf":
        raise ControlError(
            f"query: {validate.shown(request.get('query'))} is not known; this socket answers 'rpf'"
        )
    source = request.get("source")
    if not isinstance(source, str):
        raise ControlError("source: an address is missing")
    return validate.host("source", source)

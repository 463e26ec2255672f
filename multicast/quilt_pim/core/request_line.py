"""From a line of JSON to a typed request: which commands there are, and what is wrong with a line."""

from __future__ import annotations

from typing import Any

import msgspec

from quilt_pim.core import requests, validate
from quilt_pim.core.errors import ControlError
from quilt_pim.core.requests import Request
from quilt_pim.core.rpf_wire import decode_object

# Longest request line, newline included.
MAX_LINE = 65536

COMMANDS: dict[str, type[Request]] = {
    kind.__name__: kind
    for kind in (
        requests.AddExternalNeighbor,
        requests.RemoveExternalNeighbor,
        requests.ListExternalNeighbors,
        requests.ClearExternalNeighbors,
        requests.GetPimNeighbors,
        requests.EnablePim,
        requests.DisablePim,
        requests.SetRpfProvider,
        requests.GetRpfProvider,
        requests.QueryRpf,
        requests.AddRpfRoute,
        requests.RemoveRpfRoute,
        requests.ListRpfRoutes,
        requests.ClearRpfRoutes,
        requests.Subscribe,
        requests.Unsubscribe,
        requests.ListSubscriptions,
        requests.AnnounceSource,
        requests.WithdrawSource,
        requests.GetMsdpSaCache,
        requests.GetIgmpGroups,
        requests.GetMroute,
        requests.GetConfig,
    )
}


def request_id(line: bytes) -> tuple[dict[str, Any], Any]:
    """The JSON object of a line, and its `id` (null when there is none) for the reply."""
    document = decode_object(line)
    given = document.pop("id", None)
    if given is not None and not isinstance(given, str | int | float | bool):
        raise ControlError("id: a text or a number comes back in the reply, nothing else")
    return document, given


def read(document: dict[str, Any]) -> Request:
    """The typed request of a JSON object; ControlError names the command and the field."""
    name = document.pop("command", None)
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ControlError(f"command: {validate.shown(name)} is not known; known are {', '.join(COMMANDS)}")
    if kind is requests.AddExternalNeighbor and "neighbor" not in document:
        document = {"neighbor": document}
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ControlError(f"{name}: {error}") from error

"""Requests of the control socket: one typed object each, and what is wrong with a line that is not a request.

Every address, name and number is checked here, so that the handler of a request may use it as it is: they are
spelled as they must be, but for sources, which methods read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from quilt_pim.core import validate
from quilt_pim.core.announcements import DEFAULT_HOLDTIME, MAX_HOLDTIME, Announcement
from quilt_pim.core.events import EventType
from quilt_pim.core.rpf import Network, RpfInfo
from quilt_pim.core.rpf_wire import decode_object, read_info
from quilt_pim.core.validate import ControlError

# Longest request line, newline included.
MAX_LINE = 65536


class _Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ControlError for a value that its field cannot have; None is a field that was not given."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value is not None and field in _CHECKS:
                _CHECKS[field](field, value)


class Request(_Checked, frozen=True):
    """The fields of a command; many have none."""


class NeighborFields(_Checked, frozen=True):
    """A neighbor as a caller describes it."""

    address: str
    interface: str
    dr_priority: int | None = None
    tag: str | None = None


class AddExternalNeighbor(Request, frozen=True):
    """Inject a neighbor; its fields stand in `neighbor`, or beside the command."""

    neighbor: NeighborFields


class RemoveExternalNeighbor(Request, frozen=True):
    """Take an injected neighbor back."""

    address: str
    interface: str


class ClearExternalNeighbors(Request, frozen=True):
    """Take all injected neighbors back, on one interface or everywhere."""

    interface: str | None = None


class EnablePim(Request, frozen=True):
    """Listen for PIM on an interface; `passive` sends no Hellos of our own."""

    interface: str
    dr_priority: int | None = None
    passive: bool = False


class DisablePim(Request, frozen=True):
    """Listen no longer."""

    interface: str


class SetRpfProvider(Request, frozen=True):
    """Choose where RPF information comes from: `disabled`, `static` or a path."""

    provider: str


class QueryRpf(Request, frozen=True):
    """Look a source up as the router would."""

    source: str

    def address(self) -> str:
        """The source."""
        return validate.host("source", self.source)


class _Sources(Request, frozen=True):
    source: str

    def prefix(self) -> Network:
        """The sources meant: an address or prefix."""
        return validate.prefix("source", self.source)


class RemoveRpfRoute(_Sources, frozen=True):
    """Remove all static ways, or the one over an interface."""

    interface: str | None = None


class AddRpfRoute(_Sources, frozen=True):
    """Add a static way."""

    rpf: dict[str, Any]

    def info(self) -> RpfInfo:
        """The way to them."""
        extra = self.rpf.keys() - RpfInfo.__dataclass_fields__.keys()
        if extra:
            raise ControlError(f"rpf: {validate.shown(min(extra))} is not a field of it")
        return read_info(self.rpf)


class Subscribe(Request, frozen=True):
    """Receive events on this connection."""

    events: list[str]

    def types(self) -> tuple[EventType, ...]:
        """What of, in the order given, each once."""
        if not self.events:
            raise ControlError(f"events: name at least one of {', '.join(EventType)}")
        for name in self.events:
            if name not in EventType.__members__.values():
                raise ControlError(
                    f"events: {validate.shown(name)} is not known; choose from {', '.join(EventType)}"
                )
        return tuple(dict.fromkeys(EventType(name) for name in self.events))


class Unsubscribe(Request, frozen=True):
    """End a subscription of this connection."""

    subscription_id: int


class Announced(Request, frozen=True):
    """An active source of a group, and the rendezvous point it is announced by."""

    source: str
    group: str
    rp: str

    def announcement(self) -> Announcement:
        """What is announced, or withdrawn."""
        return Announcement(validate.unicast("source", self.source), self.group, self.rp)


class AnnounceSource(Announced, frozen=True):
    """A source is active.

    `interface` is where the announcement came in, None where the caller itself is the origin; `holdtime` in
    seconds is how long it is valid.
    """

    interface: str | None = None
    holdtime: int = DEFAULT_HOLDTIME


_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "interface": validate.interface,
    "address": validate.unicast,
    "group": validate.group,
    "rp": validate.unicast,
    "dr_priority": validate.u32,
    "tag": validate.tag,
    "holdtime": lambda field, value: validate.number(field, value, 1, MAX_HOLDTIME),
}
"""What fields of these names hold, in whichever command. Sources are an address here and a prefix there."""

COMMANDS: dict[str, type[Request]] = {
    "AddExternalNeighbor": AddExternalNeighbor,
    "RemoveExternalNeighbor": RemoveExternalNeighbor,
    # Injected ones, those whose Hellos are received by now included.
    "ListExternalNeighbors": Request,
    "ClearExternalNeighbors": ClearExternalNeighbors,
    # All neighbors, and who is the designated router of each interface.
    "GetPimNeighbors": Request,
    "EnablePim": EnablePim,
    "DisablePim": DisablePim,
    "SetRpfProvider": SetRpfProvider,
    # The provider, its sizes and its counters.
    "GetRpfProvider": Request,
    "QueryRpf": QueryRpf,
    "AddRpfRoute": AddRpfRoute,
    "RemoveRpfRoute": RemoveRpfRoute,
    "ListRpfRoutes": Request,
    "ClearRpfRoutes": Request,
    "Subscribe": Subscribe,
    "Unsubscribe": Unsubscribe,
    "ListSubscriptions": Request,
    "AnnounceSource": AnnounceSource,
    "WithdrawSource": Announced,
    "GetMsdpSaCache": Request,
    # Groups with members, here and on other nodes.
    "GetIgmpGroups": Request,
    # Routes of the mesh, and those that neighbors joined.
    "GetMroute": Request,
    # The configuration as it runs.
    "GetConfig": Request,
}
"""Every command by its name on the wire, and its fields."""


def request_id(line: bytes) -> tuple[dict[str, Any], Any]:
    """The JSON object of a line, and its `id` (null without one) for the reply."""
    document = decode_object(line)
    given = document.pop("id", None)
    if given is not None and not isinstance(given, str | int | float | bool):
        raise ControlError("id: a text or a number comes back in the reply, nothing else")
    return document, given


def read(document: dict[str, Any]) -> tuple[str, Request]:
    """The command of a JSON object and its fields; ControlError names the command and the field."""
    name = document.pop("command", None)
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ControlError(f"command: {validate.shown(name)} is not known; known are {', '.join(COMMANDS)}")
    if kind is AddExternalNeighbor and "neighbor" not in document:
        document = {"neighbor": document}
    try:
        return str(name), msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ControlError(f"{name}: {error}") from error

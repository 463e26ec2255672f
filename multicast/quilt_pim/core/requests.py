"""Requests of the control socket: one typed object each, and what is wrong with a line that is not a request.

Every address, name and number is checked here, so that the handler of a request may use it as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from quilt_pim.core import validate
from quilt_pim.core.announcements import DEFAULT_HOLDTIME, MAX_HOLDTIME, Announcement
from quilt_pim.core.config import provider
from quilt_pim.core.errors import ControlError
from quilt_pim.core.events import EventType
from quilt_pim.core.neighbors import DEFAULT_PRIORITY, External
from quilt_pim.core.rpf import Network, RpfInfo
from quilt_pim.core.rpf_wire import decode_object, read_info

# Longest request line, newline included.
MAX_LINE = 65536


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command; its name on the wire is the class's."""


class _OnInterface(Request, frozen=True):
    interface: str

    def where(self) -> str:
        """The interface."""
        return validate.interface("interface", self.interface)


class NeighborFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A neighbor as a caller describes it."""

    address: str
    interface: str
    dr_priority: int | None = None
    tag: str | None = None


class AddExternalNeighbor(Request, frozen=True):
    """Inject a neighbor; its fields stand in `neighbor`, or beside the command."""

    neighbor: NeighborFields

    def key(self) -> tuple[str, str]:
        """Interface and address."""
        return (
            validate.interface("interface", self.neighbor.interface),
            validate.unicast("address", self.neighbor.address),
        )

    def external(self) -> External:
        """What is injected."""
        given = self.neighbor.dr_priority
        priority = DEFAULT_PRIORITY if given is None else given
        return External(
            validate.number("dr_priority", priority, 0, validate.MAX_U32),
            validate.tag(self.neighbor.tag or ""),
        )


class RemoveExternalNeighbor(Request, frozen=True):
    """Take an injected neighbor back."""

    address: str
    interface: str

    def key(self) -> tuple[str, str]:
        """Interface and address."""
        return validate.interface("interface", self.interface), validate.unicast("address", self.address)


class ListExternalNeighbors(Request, frozen=True):
    """Injected neighbors, those whose Hellos are received by now included."""


class ClearExternalNeighbors(Request, frozen=True):
    """Take all injected neighbors back, on one interface or everywhere."""

    interface: str | None = None

    def where(self) -> str | None:
        """The interface, or None for everywhere."""
        return _anywhere(self.interface)


class GetPimNeighbors(Request, frozen=True):
    """All neighbors, and who is the designated router of each interface."""


class EnablePim(_OnInterface, frozen=True):
    """Listen for PIM on an interface; `passive` sends no Hellos of our own."""

    dr_priority: int | None = None
    passive: bool = False

    def priority(self) -> int:
        """Our own priority in the election."""
        given = DEFAULT_PRIORITY if self.dr_priority is None else self.dr_priority
        return validate.number("dr_priority", given, 0, validate.MAX_U32)


class DisablePim(_OnInterface, frozen=True):
    """Listen no longer."""


class SetRpfProvider(Request, frozen=True):
    """Choose where RPF information comes from."""

    provider: str

    def chosen(self) -> str:
        """`disabled`, `static` or a path."""
        return provider(self.provider)


class GetRpfProvider(Request, frozen=True):
    """The provider, its sizes and its counters."""


class QueryRpf(Request, frozen=True):
    """Look a source up as the router would."""

    source: str

    def address(self) -> str:
        """The source."""
        return validate.host("source", self.source)


class _Sources(Request, frozen=True):
    source: str

    def prefix(self) -> Network:
        """The sources meant."""
        return validate.prefix("source", self.source)


class AddRpfRoute(_Sources, frozen=True):
    """Add a static way to an address or prefix."""

    rpf: dict[str, Any]

    def info(self) -> RpfInfo:
        """The way to them."""
        extra = self.rpf.keys() - {"upstream_interface", "upstream_neighbor", "metric"}
        if extra:
            raise ControlError(f"rpf: {validate.shown(min(extra))} is not a field of it")
        return read_info(self.rpf)


class RemoveRpfRoute(_Sources, frozen=True):
    """Remove the static ways to an address or prefix, or the one over an interface."""

    interface: str | None = None

    def where(self) -> str | None:
        """The interface, or None for all."""
        return _anywhere(self.interface)


class ListRpfRoutes(Request, frozen=True):
    """All static ways."""


class ClearRpfRoutes(Request, frozen=True):
    """Remove all static ways."""


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


class ListSubscriptions(Request, frozen=True):
    """Subscriptions of this connection."""


class _Announced(Request, frozen=True):
    source: str
    group: str
    rp: str

    def announcement(self) -> Announcement:
        """What is announced."""
        return Announcement(
            validate.unicast("source", self.source),
            validate.group("group", self.group),
            validate.unicast("rp", self.rp),
        )


class AnnounceSource(_Announced, frozen=True):
    """A source is active; `interface` is where the announcement came in, `holdtime` in seconds."""

    interface: str | None = None
    holdtime: int = DEFAULT_HOLDTIME

    def where(self) -> str | None:
        """The interface, or None when the caller itself is the origin."""
        return _anywhere(self.interface)

    def seconds(self) -> int:
        """How long it is valid."""
        return validate.number("holdtime", self.holdtime, 1, MAX_HOLDTIME)


class WithdrawSource(_Announced, frozen=True):
    """A source is active no longer."""


class GetMsdpSaCache(Request, frozen=True):
    """All announced sources."""


class GetIgmpGroups(Request, frozen=True):
    """Groups with members, here and on other nodes."""


class GetMroute(Request, frozen=True):
    """Multicast routes, the mesh's and those that neighbors joined."""


class GetConfig(Request, frozen=True):
    """The configuration as it runs."""


COMMANDS: dict[str, type[Request]] = {
    name: kind
    for name, kind in globals().items()
    if isinstance(kind, type) and issubclass(kind, Request) and kind is not Request and name[0] != "_"
}
"""Every command by its name on the wire."""


def request_id(line: bytes) -> tuple[dict[str, Any], Any]:
    """The JSON object of a line, and its `id` (null without one) for the reply."""
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
    if kind is AddExternalNeighbor and "neighbor" not in document:
        document = {"neighbor": document}
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ControlError(f"{name}: {error}") from error


def _anywhere(interface: str | None) -> str | None:
    return None if interface is None else validate.interface("interface", interface)

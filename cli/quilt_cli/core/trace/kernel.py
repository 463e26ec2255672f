"""One node's kernel as `quiltctl node dump` shows it, looked up by what a packet asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from quilt_cli.core.nft_listing import of_kind
from quilt_cli.core.objects import at

Plain = Mapping[str, Any]
Address = IPv4Address | IPv6Address
_MAIN, _LOCAL = 254, 255
# Types of routes that lead nowhere.
REFUSING = ("unreachable", "blackhole", "prohibit")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A document of a node, whose keys are those of `ip -j`; what was not read is in its `missing`."""

    document: Plain

    def lacks(self, *parts: str) -> str:
        """Why one of these parts of the document is not there; empty where all are."""
        missing = self.document.get("missing") or {}
        absent = [part for part in parts if part not in self.document]
        return "; ".join(f"{part} not read: {missing.get(part, 'not in the document')}" for part in absent)

    def all(self, part: str) -> tuple[Plain, ...]:
        """The entries of a part; none where it was not read."""
        return tuple(self.document.get(part) or ())

    def link(self, name: str) -> Plain | None:
        """The device of a name."""
        return next((link for link in self.all("links") if link.get("ifname") == name), None)

    def addresses(self, device: str) -> list[str]:
        """The addresses of a device, each with its prefix length."""
        held = (item for item in self.all("addresses") if item.get("ifname") == device)
        return [f"{item.get('local')}/{item.get('prefixlen')}" for item in held]

    def device_of(self, address: str) -> str:
        """The device that has an address; empty where none has."""
        held = (item for item in self.all("addresses") if item.get("local") == address)
        return next((str(item.get("ifname")) for item in held), "")

    def sysctl(self, name: str) -> str | None:
        """A setting, named as below /proc/sys/net."""
        found = at(self.document, "sysctls", name)
        return None if found is None else str(found)

    def route(self, address: Address) -> Plain | None:
        """The route that the table main, or this host's own, has for an address."""
        held = [route for route in self._routes() if route.get("table") in (_MAIN, _LOCAL)]
        fitting = [route for route in held if _holds(route, address)]
        order = lambda route: (  # noqa: E731  # a key of two numbers
            route.get("table") != _LOCAL,
            -_length(route),
            route.get("metric") or 0,
        )
        return min(fitting, key=order, default=None)

    def route_to(self, prefix: str) -> list[Plain]:
        """The routes of exactly this destination in the table main."""
        return [r for r in self._routes() if r.get("table") == _MAIN and r.get("dst") == prefix]

    def _routes(self) -> list[Plain]:
        """The routes without what the kernel learned of single destinations: that leads the same way."""
        return [route for route in self.all("routes") if "cache" not in (route.get("flags") or ())]

    def nexthop(self, number: int | None) -> Plain | None:
        """The nexthop object of an id."""
        return next((hop for hop in self.all("nexthops") if hop.get("id") == number), None)

    def way(self, route: Plain) -> tuple[str, str]:
        """Gateway and device of a route, by its nexthop object where it has one; empty what it has not."""
        hop: Plain = (self.nexthop(route.get("nhid")) or {}) if route.get("nhid") else route
        several = route.get("nexthops") or ()
        hop = several[0] if several else hop
        return str(hop.get("gateway") or ""), str(hop.get("dev") or "")

    def neighbors(self, address: str, device: str) -> list[Plain]:
        """The neighbor entries of an address on a device."""
        return [n for n in self.all("neighbors") if n.get("dst") == address and n.get("dev") == device]

    def fdb(self, mac: str, device: str) -> list[Plain]:
        """The forwarding entries of a MAC on a device."""
        return [f for f in self.all("fdb") if f.get("mac") == mac and f.get("ifname") == device]

    def nft(self, kind: str) -> Iterator[Plain]:
        """The entries of one kind (`table`, `chain`, `rule`, `set`) in the packet filter's listing."""
        return of_kind(self.all("nft"), kind)

    def elements(self, family: str, table: str, name: str) -> Iterable[Any] | None:
        """The elements of a set; None where there is no such set."""
        for held in self.nft("set"):
            if (held.get("family"), held.get("table"), held.get("name")) == (family, table, name):
                found: Iterable[Any] = held.get("elem") or ()
                return found
        return None


def is_up(link: Plain) -> bool:
    """Whether a device is up and has a carrier."""
    flags = link.get("flags") or ()
    return "UP" in flags and "LOWER_UP" in flags


def _holds(route: Plain, address: Address) -> bool:
    family = "inet6" if address.version == 6 else "inet"
    if route.get("family") != family:
        return False
    dst = str(route.get("dst") or "default")
    return dst == "default" or address in ip_network(dst, strict=False)


def _length(route: Plain) -> int:
    dst = str(route.get("dst") or "default")
    return 0 if dst == "default" else ip_network(dst, strict=False).prefixlen


def address(text: str) -> Address:
    """Read an address; raises ValueError."""
    return ip_address(text)

"""Rules that choose a packet's routing table, and the IPv4 multicast routes that some of them lead to."""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, AF_INET6

from quilt_netlink import constants as c
from quilt_netlink.messages import Message, encode
from quilt_netlink.schema import fibmsg, rtmsg

_DUMP = c.NLM_F_REQUEST | c.NLM_F_DUMP
_ADD = c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL


@dataclass(frozen=True, slots=True)
class SourceRule:
    """Packets from an address (of either family) are looked up in `table`; lower `priority` comes first."""

    source: str
    table: int
    priority: int


@dataclass(frozen=True, slots=True)
class MulticastRule:
    """Packets that come in by `interface` (a name) are looked up in `table`; lower `priority` comes first.

    The table is one of IPv4 multicast routes.
    """

    interface: str
    table: int
    priority: int


@dataclass(frozen=True, slots=True)
class MulticastRoute:
    """Packets from `source` to `group` that come in by `iif` leave by `oifs`: indexes, 0 for one gone."""

    table: int
    source: str
    group: str
    iif: int
    oifs: frozenset[int] = frozenset()


def create(rule: SourceRule | MulticastRule) -> bytes:
    """Encode the making of a rule; of source rules refused (EEXIST) where there is the same."""
    return _write(rule, c.RTM_NEWRULE, _ADD)


def remove(rule: MulticastRule) -> bytes:
    """Encode the removal of a rule."""
    return _write(rule, c.RTM_DELRULE, c.NLM_F_REQUEST)


def _write(rule: SourceRule | MulticastRule, kind: int, flags: int) -> bytes:
    fields = {"family": c.RTNL_FAMILY_IPMR, "action": c.FR_ACT_TO_TBL}
    if isinstance(rule, SourceRule):
        v6 = ":" in rule.source
        fields |= {"family": AF_INET6 if v6 else AF_INET, "src_len": 128 if v6 else 32}
        selector = ("FRA_SRC", rule.source)
    else:
        selector = ("FRA_IIFNAME", rule.interface)
    attrs = [selector, ("FRA_PRIORITY", rule.priority), ("FRA_TABLE", rule.table)]
    return encode(fibmsg, kind, flags, fields, attrs)


def multicast_rules() -> bytes:
    """Encode the dump of all multicast routing rules."""
    return encode(fibmsg, c.RTM_GETRULE, _DUMP, {"family": c.RTNL_FAMILY_IPMR}, [])


def multicast_routes() -> bytes:
    """Encode the dump of all tables of multicast routes."""
    return encode(rtmsg, c.RTM_GETROUTE, _DUMP, {"family": c.RTNL_FAMILY_IPMR}, [])


def read_multicast_rule(found: Message) -> MulticastRule | None:
    """Make a rule; None for one that is not about an interface."""
    if found["family"] != c.RTNL_FAMILY_IPMR or not found.keys() >= {"FRA_IIFNAME", "FRA_TABLE"}:
        return None
    return MulticastRule(found["FRA_IIFNAME"], found["FRA_TABLE"], found.get("FRA_PRIORITY", 0))


def read_multicast_route(found: Message) -> MulticastRoute | None:
    """Make an entry; None for one that the kernel still asks about."""
    if found["flags"] & c.RTNH_F_UNRESOLVED or not found.keys() >= {"RTA_SRC", "RTA_DST", "RTA_TABLE"}:
        return None
    oifs = frozenset(found.get("RTA_MULTIPATH", ()))
    return MulticastRoute(
        found["RTA_TABLE"], found["RTA_SRC"], found["RTA_DST"], found.get("RTA_IIF", 0), oifs
    )

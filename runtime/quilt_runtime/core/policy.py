"""The text of the nftables table `inet quilt-policy`: what holds for the node's pods, as rules.

Rules are about the tuple of a connection, whatever Service is between its ends: the client is
`ct original saddr`, the server `ct reply saddr`, its port `ct reply proto-src`. So one rule serves the
packets of both directions. Maps lead from a local pod's address to the chain of its policies, which returns
where they accept; what returned from both ends' is remembered, and passes without them (core.policyjudged).
Addresses of sets are not in the text: they come by netlink (core.policysets).

A chain or set of the program is one for each family here, under its name with the family's number. A pod
without chains is in no map; where there is no such pod, no packet enters the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_crds.names import BRIDGE_DEVICE
from quilt_policy.program import Action, Chain, Direction, Peer, Program, Rule, Scope
from quilt_runtime.core import policyjudged
from quilt_runtime.core.drops import POLICY, drop

FAMILY, TABLE = "inet", "quilt-policy"
CUT_OFF = "cut-off"
"""The chain of a pod that nobody announced: all is dropped, its node's own packets aside."""
LOG_GROUP = 1042
"""Of nfnetlink_log, to which denied packets go where they are logged."""
_LOG_LIMIT = "limit rate 5/second burst 10 packets"
HEADERS = 64
"""Bytes of a denied packet that are logged: the header of either family, and the ports."""
# The kernel keeps 127 characters.
_LOG_PREFIX = 120
_DENIES = re.compile(r'(?:counter )?counter name (\w+) drop(?: comment "(.*)")?$')
_WITHOUT_TUPLE = "ct state invalid,untracked"


@dataclass(frozen=True, slots=True)
class Family:
    """One family of addresses: as nft calls it, and how a pod's address is recognized."""

    number: int
    cidrs: tuple[str, ...]
    prefix_length: int

    @property
    def address(self) -> str:
        """The source address of a packet or tuple."""
        return "ip saddr" if self.number == 4 else "ip6 saddr"

    @property
    def destination(self) -> str:
        """The destination address of a packet."""
        return self.address.replace("saddr", "daddr")

    @property
    def groups(self) -> str:
        """What matches a packet for a multicast group."""
        return f"{self.destination} {'224.0.0.0/4' if self.number == 4 else 'ff00::/8'}"

    @property
    def kind(self) -> str:
        """The type of a set of addresses."""
        return f"ipv{self.number}_addr"

    @property
    def size(self) -> int:
        """Bytes of an address."""
        return 4 if self.number == 4 else 16

    def is_pod(self, side: str) -> str:
        """Return what matches every pod: in the cluster's ranges, and neither VTEP nor gateway of a node.

        These are the first two addresses of each node's subnet.
        """
        ip = IPv4Address if self.number == 4 else IPv6Address
        host = ip((1 << (self.size * 8 - self.prefix_length)) - 1)
        mask = f"{side} & {host} != {{ {ip(0)}, {ip(1)} }}"
        return f"{side} {{ {', '.join(self.cidrs)} }} {mask}"


@dataclass(frozen=True, slots=True)
class Ground:
    """What rules depend on besides the program; without an IPv6 subnet there is IPv4 alone.

    `logs_denied`: whether packets that are denied are logged, a few a second by each rule.
    """

    prefix_length: int
    cidrs: tuple[IPv4Network, ...]
    cidrs6: tuple[IPv6Network, ...] = ()
    prefix_length6: int | None = None
    logs_denied: bool = False

    @property
    def families(self) -> list[Family]:
        """The families that the node's pods have."""
        found = [Family(4, tuple(map(str, self.cidrs)), self.prefix_length)]
        if self.prefix_length6 is not None:
            found.append(Family(6, tuple(map(str, self.cidrs6)), self.prefix_length6))
        return found


@dataclass(frozen=True, slots=True)
class Structure:
    """Sets and counters as declared, chains with their rules, base chains beginning with their hook, by name.

    None is for rules that are there and unknown; an unknown set is declared as `set NAME`, `map NAME` or
    `counter NAME`.
    """

    sets: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    bases: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)


def structure(ground: Ground, program: Program, *, is_entered: bool) -> Structure:
    """Return what the table is to be; `is_entered`: whether a pod is held to any chain."""
    sets = {**policyjudged.declared(), **{reason: f"counter {reason} {{ }}" for reason in POLICY}}
    chains: dict[str, tuple[str, ...]] = {CUT_OFF: (drop("policy_unannounced"),)}
    for family in ground.families:
        sets |= _sets(family, program)
        for chain in program.chains.values():
            chains |= _chains(family, chain)
    if ground.logs_denied:
        chains = {name: tuple(_logged(rules)) for name, rules in chains.items()}
    bases = {"forward": tuple(_forward(ground.families))} if is_entered else {}
    if is_entered and any(map(judges_host, program.chains.values())):
        bases["input"] = tuple(_input(ground.families))
    return Structure(sets, chains, bases)


def named(name: str, family: int) -> str:
    """Return the name of a program's chain or set in one family."""
    return f"{name}-{family}"


def host_chain(chain: Chain, family: int) -> str:
    """Return the chain that judges what a pod sends to its own node, empty where nothing does.

    NetworkPolicies never do, the tiers of ClusterNetworkPolicies around them do.
    """
    if not judges_host(chain):
        return ""
    name = named(chain.name, family)
    return name if chain.policies is None else f"{name}-host"


def judges_host(chain: Chain) -> bool:
    """Whether something of a chain judges what a pod sends to its own node."""
    around = bool(chain.admin) or (chain.policies is None and bool(chain.baseline))
    return chain.direction is Direction.EGRESS and around


def _sets(family: Family, program: Program) -> dict[str, str]:
    number, kind = family.number, family.kind
    sets = {f"{way}{number}": f"map {way}{number} {{ type {kind} : verdict; }}" for way in MAPS}
    sets[f"self{number}"] = f"set self{number} {{ type {kind} . {kind}; }}"
    for one in program.sets.values():
        name, flags = named(one.name, number), " flags interval;" if one.ranges else ""
        sets[name] = f"set {name} {{ type {kind};{flags} }}"
    return sets


MAPS = ("from", "to", "host")
"""Maps of each family: a local pod's chain as a client, as a server, and as a client of its own node."""


def _chains(family: Family, chain: Chain) -> dict[str, tuple[str, ...]]:
    name = named(chain.name, family.number)
    head = f"{_WITHOUT_TUPLE} {drop(f'policy_invalid_{_way(chain)}')}"
    rest = _rest(family, chain)
    if not chain.admin:
        return {name: (head, *rest)}
    behind = f"{name}-rest"
    admin = _rules(family, chain, chain.admin, f"goto {behind}")
    found = {behind: tuple(rest), name: (head, *admin, f"goto {behind}")}
    if (host := host_chain(chain, family.number)) not in ("", name):
        found[host] = (head, *_rules(family, chain, chain.admin, "return"))
    return found


def _logged(rules: Iterable[str]) -> Iterator[str]:
    """Yield rules, and before each that denies one that logs what it matches, with reason and origin."""
    for rule in rules:
        if (denies := _DENIES.search(rule)) is not None:
            prefix = " ".join(denies.groups(""))[:_LOG_PREFIX]
            match = rule[: denies.start()]
            yield f'{match}{_LOG_LIMIT} log prefix "{prefix}" group {LOG_GROUP} snaplen {HEADERS}'
        yield rule


def _way(chain: Chain) -> str:
    return chain.direction.value.lower()


def _rest(family: Family, chain: Chain) -> Iterator[str]:
    """Yield the rules behind the Admin tier: NetworkPolicies' where there are any, else Baseline's."""
    if chain.policies is None:
        yield from _rules(family, chain, chain.baseline, "return")
        return
    number, address = family.number, family.address
    yield f"ct original {address} . ct reply {address} @self{number} return"
    yield from _rules(family, chain, chain.policies, "return")
    yield drop(f"policy_{_way(chain)}")


def _rules(family: Family, chain: Chain, rules: tuple[Rule, ...], on_pass: str) -> Iterator[str]:
    denied = drop(f"policy_{_way(chain)}")
    verdicts = {Action.ACCEPT: "return", Action.DENY: denied, Action.PASS: on_pass}
    side = "original" if chain.direction is Direction.INGRESS else "reply"
    for rule in rules:
        peer = _peer(family, f"ct {side} {family.address}", rule.peer)
        comment = f'comment "{rule.origin}"' if rule.origin else ""
        for ports in _ports(rule):
            parts = (peer, ports, "counter", verdicts[rule.action], comment)
            yield " ".join(part for part in parts if part)


def _peer(family: Family, side: str, peer: Peer) -> str:
    match peer.scope:
        case Scope.EVERY:
            return ""
        case Scope.PODS:
            return family.is_pod(side)
        case Scope.MEMBERS:
            return f"{side} @{named(peer.name, family.number)}"
        case Scope.OTHERS:
            return f"{family.is_pod(side)} {side} != @{named(peer.name, family.number)}"


def _ports(rule: Rule) -> Iterator[str]:
    """Yield what matches the ports in each protocol that a rule names: nothing where it names none."""
    for ports in rule.ports:
        ranges = [f"{first}-{last}" if first != last else f"{first}" for first, last in ports.ranges]
        server = f" ct reply proto-src {{ {', '.join(ranges)} }}" if ranges else ""
        yield f"meta l4proto {ports.protocol.name.lower()}{server}"
    if not rule.ports:
        yield ""


def _forward(families: list[Family]) -> Iterator[str]:
    yield "type filter hook forward priority filter - 5; policy accept;"
    # First, as nearly every packet is of what was judged: each rule before it costs all of them.
    numbers = [family.number for family in families]
    yield from policyjudged.accepted(numbers)
    # These have no tuple, so that no rule by it matches: the first rule of each chain drops them.
    for family in families:
        yield f"{_WITHOUT_TUPLE} {family.address} vmap @from{family.number}"
        yield f"{_WITHOUT_TUPLE} {family.destination} vmap @to{family.number}"
    # An error's protocol is ICMP, its tuple that of the connection which it is about.
    yield "meta l4proto { icmp, ipv6-icmp } ct state related accept"
    # What the bridge passes to the node's own pods comes here where br_netfilter calls iptables, else not.
    for family in families:
        yield f'iifname "{BRIDGE_DEVICE}" oifname "{BRIDGE_DEVICE}" {family.groups} accept'
    for family in families:
        yield f"ct original {family.address} vmap @from{family.number}"
        yield f"ct reply {family.address} vmap @to{family.number}"
    yield from policyjudged.remembered(numbers)


def _input(families: list[Family]) -> Iterator[str]:
    """Yield what judges pods' packets to their own node. Neighbor discovery, untracked, passes.

    An address of the node may become another's, to whom packets are forwarded and other rules hold: so it
    is the connection that is remembered.
    """
    yield "type filter hook input priority filter - 5; policy accept;"
    yield f'iifname != "{BRIDGE_DEVICE}" accept'
    yield policyjudged.IS_FRESH
    for family in families:
        yield f"ct state invalid {family.address} vmap @host{family.number}"
    yield "meta l4proto { icmp, ipv6-icmp } ct state related accept"
    for family in families:
        yield f"ct original {family.address} vmap @host{family.number}"
    yield policyjudged.NOW_FRESH

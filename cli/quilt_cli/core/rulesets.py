"""What a node's packet filter does to the mesh, read from listings of nftables (and so of iptables-nft)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quilt_cli.core.node_facts import Chain
from quilt_netlink.nftrules import Rule, of_kind, refuses_all, targets

_CHAIN = re.compile(r"\s*chain (\S+) \{")
_HOOK = re.compile(r"type filter hook (\S+) priority [^;]*;(?: policy (\w+);)?")
_STATES = re.compile(r"ct state (?:!= )?(\{[^}]*\}|[\w,]+)|xt match \"?(?:conntrack|state)\b")
_PORTS = re.compile(r"\bdport (\{[^}]*\}|\S+)")
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
# Rules that are about other traffic than UDP from another host.
_OTHER = re.compile(r'\b(?:icmp|icmpv6|sctp|igmp|esp|ah|gre)\b|[io]if(?:name)? "lo"|!= | vmap ')
_REFUSES = re.compile(r"^(?:counter |log (?:prefix \"[^\"]*\" ?)?)*(?:drop|reject\b.*)$")


def forward_chains(entries: Sequence[Mapping[str, Any]], marks: Sequence[str]) -> tuple[Chain, ...]:
    """Return the chains at the forward hook that refuse what they do not accept, of `nft -j list ruleset`.

    By their policy, or by a rule that refuses all the rest. A chain accepts the mesh when one of the rules
    that it leads to speaks of one of the `marks`, a device or an address.
    """
    tables: dict[tuple[str, str], dict[str, list[Rule]]] = {}
    for rule in of_kind("rule", entries):
        table = tables.setdefault((rule["family"], rule["table"]), {})
        table.setdefault(rule["chain"], []).append(rule)
    found = []
    for chain in of_kind("chain", entries):
        if chain.get("hook") != "forward":
            continue
        chains = tables.get((chain["family"], chain["table"]), {})
        refuses = any(refuses_all(rule, chains) for rule in chains.get(chain["name"], ()))
        if chain.get("policy") != "drop" and not refuses:
            continue
        said = json.dumps([rule.get("expr") for rule in _reached(chain["name"], chains)])
        accepts = any(f'"{mark}"' in said for mark in marks)
        found.append(Chain(f"{chain['family']} {chain['table']} {chain['name']}", accepts))
    return tuple(found)


def _reached(name: str, chains: Mapping[str, list[Rule]]) -> Iterator[Rule]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        if (at := todo.pop()) in seen:
            continue
        seen.add(at)
        for rule in chains.get(at, ()):
            yield rule
            todo += targets(rule.get("expr", []))


@dataclass
class _Listed:
    """A chain as `nft -s list ruleset` prints it; `hook` is empty where it is none's."""

    table: str
    name: str
    hook: str = ""
    policy: str = ""
    rules: list[str] = field(default_factory=list)


def tracked_only(listing: str, port: int) -> tuple[str, ...]:
    """Return the chains at the hooks input and output that take a UDP port for tracked connections alone.

    That is: they refuse what they do not accept, and accept the port where `ct state` is new. The overlay's
    packets are untracked, so that no such rule is about them.
    """
    chains = _listed(listing)
    by_name = {(chain.table, chain.name): chain for chain in chains}
    found = []
    for base in chains:
        if base.hook not in ("input", "output"):
            continue
        rules = list(_flat(base, by_name))
        if (base.policy == "drop" or any(map(_REFUSES.match, rules))) and _shuts_out(rules, port):
            found.append(f"{base.table} {base.name}")
    return tuple(found)


def _shuts_out(rules: Sequence[str], port: int) -> bool:
    """Whether rules let new connections to the port pass, and untracked packets not."""
    accepting = [rule for rule in rules if "accept" in rule.split() and _concerns_udp(rule)]
    about = [rule for rule in accepting if (ports := _PORTS.search(rule)) and _includes(ports[1], port)]
    general = [rule for rule in accepting if not _PORTS.search(rule)]
    states = [found[0] if (found := _STATES.search(rule)) else "" for rule in about or general]
    if any(not state or "untracked" in state for state in states):
        return False
    return bool(about) or any("new" in state for state in states)


def _concerns_udp(rule: str) -> bool:
    return not _OTHER.search(rule) and ("udp" in rule or not re.search(r"\btcp\b", rule))


def _includes(ports: str, port: int) -> bool:
    for part in ports.strip("{} ").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and int(first) <= port <= int(last or first):
            return True
    return False


def _listed(listing: str) -> list[_Listed]:
    found: list[_Listed] = []
    table, inside = "", False
    for line in listing.splitlines():
        text = line.strip()
        if line.startswith("table "):
            table = line.removeprefix("table ").removesuffix(" {")
        elif chain := _CHAIN.match(line):
            found.append(_Listed(table, chain[1]))
            inside = True
        elif text == "}":
            inside = False
        elif inside and (hook := _HOOK.search(text)):
            found[-1].hook, found[-1].policy = hook[1], hook[2] or "accept"
        elif inside:
            found[-1].rules.append(text)
    return found


def _flat(base: _Listed, by_name: Mapping[tuple[str, str], _Listed]) -> Iterator[str]:
    seen: set[str] = set()
    todo = [base.name]
    while todo:
        name = todo.pop()
        chain = by_name.get((base.table, name))
        if name in seen or chain is None:
            continue
        seen.add(name)
        for rule in chain.rules:
            yield rule
            todo += [target.rstrip(",") for target in _JUMP.findall(rule)]

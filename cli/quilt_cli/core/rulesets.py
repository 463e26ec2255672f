"""What a node's packet filter does to the mesh, read from listings of nftables (and so of iptables-nft)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quilt_cli.core.node_facts import Chain

# As nft indents them.
_TABLE = re.compile(r"^table (.+?) \{[^\n]*$(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"^\tchain (\S+) \{[^\n]*$(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_HOOK = re.compile(r"type filter hook (\S+) priority [^;]*;(?: policy (\w+);)?")
_STATES = re.compile(r"ct state (?:!= )?(\{[^}]*\}|[\w,]+)|xt match \"?(?:conntrack|state)\b")
_PORTS = re.compile(r"\bdport (\{[^}]*\}|\S+)")
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
# Rules that are about other traffic than UDP from another host.
_OTHER = re.compile(r'\b(?:icmp|icmpv6|sctp|igmp|esp|ah|gre)\b|[io]if(?:name)? "lo"|!= | vmap ')
_DEEPEST = 16  # jumps of jumps, as the kernel has it
# What every packet passes, then what none does. Of iptables' extensions nft shows no more than the name.
_PASSED = (
    r'counter(?: name \S+)?|xt match "?comment"?|comment "[^"]*"'
    r'|log(?: prefix "[^"]*"| (?:level|group|snaplen|queue-threshold|flags(?: tcp| ip)?) [\w,]+)*'
)
_REFUSES = re.compile(
    rf"(?:(?:{_PASSED})\s+)*(?:drop|reject\b.*|xt target \"?REJECT\"?|(?:jump|goto) (?P<target>\S+))"
    r'(?: comment "[^"]*")?'
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A chain as `nft -s list ruleset` prints it; `hook` is empty for a chain without one."""

    table: str
    name: str
    hook: str = ""
    policy: str = ""
    rules: Sequence[str] = ()


Chains = Mapping[tuple[str, str], _Listed]
"""By table and name."""


def forward_chains(listing: str, marks: Sequence[str]) -> tuple[Chain, ...]:
    """Return the chains at the forward hook that refuse what they do not accept, of `nft -s list ruleset`.

    By their policy, or by a rule that refuses all the rest. A chain accepts the mesh when one of the rules
    that it leads to speaks of one of the `marks`, a device or an address.
    """
    chains = _listed(listing)
    about_mesh = re.compile(rf"(?<![\w.:])(?:{'|'.join(map(re.escape, marks))})(?![\w.:])")
    return tuple(
        Chain(f"{base.table} {base.name}", any(map(about_mesh.search, _flat(base, chains))))
        for base in chains.values()
        if base.hook == "forward" and _refuses(base, chains)
    )


def tracked_only(listing: str, port: int) -> tuple[str, ...]:
    """Return the chains at the hooks input and output that take a UDP port for tracked connections alone.

    That is: they refuse what they do not accept, and accept the port where `ct state` is new. The overlay's
    packets are untracked, so that no such rule is about them.
    """
    chains = _listed(listing)
    found = []
    for base in chains.values():
        if base.hook not in ("input", "output"):
            continue
        rules = list(_flat(base, chains))
        refusals = filter(None, map(_REFUSES.fullmatch, rules))
        refuses = base.policy == "drop" or any(not refusal["target"] for refusal in refusals)
        if refuses and _shuts_out(rules, port):
            found.append(f"{base.table} {base.name}")
    return tuple(found)


def _refuses(chain: _Listed, chains: Chains, depth: int = 0) -> bool:
    """Whether a chain refuses what none of its rules accepts; `depth` is that of its jump."""
    if chain.policy == "drop":
        return True
    for found in filter(None, map(_REFUSES.fullmatch, chain.rules)):
        inner = chains.get((chain.table, found["target"] or ""))
        if not found["target"] or (inner and depth < _DEEPEST and _refuses(inner, chains, depth + 1)):
            return True
    return False


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
    spans = (part.strip().partition("-") for part in ports.strip("{} ").split(","))
    return any(first.isdigit() and int(first) <= port <= int(last or first) for first, _, last in spans)


def _listed(listing: str) -> dict[tuple[str, str], _Listed]:
    found = {}
    for table, body in _TABLE.findall(listing):
        for name, text in _CHAIN.findall(body):
            hook = _HOOK.search(text)
            lines = [line.strip() for line in text.splitlines() if not _HOOK.search(line)]
            base = (hook[1], hook[2] or "accept") if hook else ("", "")
            found[table, name] = _Listed(table, name, *base, [line for line in lines if line])
    return found


def _flat(base: _Listed, chains: Chains) -> Iterator[str]:
    """The rules of a chain and of all that it leads to."""
    names = [base.name]
    for name in names:  # Which grow meanwhile.
        chain = chains.get((base.table, name))
        for rule in chain.rules if chain else ():
            yield rule
            targets = (target.rstrip(",") for target in _JUMP.findall(rule))
            names += [target for target in targets if target not in names]

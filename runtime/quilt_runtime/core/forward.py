"""Which chains of iptables-nft refuse the forwarded packets of pods, and the rules that let them pass.

What another's chain refuses cannot be overridden from the mesh's own table: an accept there ends only that
table's part. So two rules go into iptables-nft's own FORWARD chain, which shows them, where it refuses
everything that no rule of it accepts: by the policy DROP (Docker sets one), or by a last rule that does (as
distributions write it). They stand behind all other rules, so that these count, and before that last one.

What rules come to is read from what `nft -j list …` prints. iptables-nft writes its extensions as `xt`, of
which nft shows no more than the name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

from quilt_crds.names import BRIDGE_DEVICE

Rule = Mapping[str, Any]
Entries = Iterable[Mapping[str, Any]]
"""What is listed under "nftables"."""

# Statements that a packet always passes; any other one may be a condition.
_UNCONDITIONAL = frozenset({"counter", "log", "drop", "reject", "jump", "goto"})
_DEEPEST = 16  # jumps of jumps, as the kernel has it

COMMENT = "quilt-mesh"
FAMILIES = ("ip", "ip6")
TABLE, CHAIN = "filter", "FORWARD"
DIRECTIONS = ("iifname", "oifname")


def correction(family: str, entries: list[Mapping[str, Any]]) -> str:
    """Return the transaction after which pods' packets pass, for the listed table; empty where they do."""
    drops = any(
        chain.get("name") == CHAIN and chain.get("policy") == "drop" for chain in of_kind("chain", entries)
    )
    chains: dict[str, list[Rule]] = {}
    for rule in of_kind("rule", entries):
        chains.setdefault(rule["chain"], []).append(rule)
    rules = chains.get(CHAIN, [])
    last = next((at for at, rule in enumerate(rules) if refuses_all(rule, chains)), None)
    if not drops and last is None:
        return ""
    standing = list(takewhile(_has_comment, reversed(rules[:last])))
    if {_direction(rule) for rule in standing} == set(DIRECTIONS) and standing == [
        rule for rule in reversed(rules) if _has_comment(rule)
    ]:
        return ""
    verb, place = ("add", "") if last is None else ("insert", f" handle {int(rules[last]['handle'])}")
    return removal(family, rules) + _accepting(f"{verb} rule {family} {TABLE} {CHAIN}{place}")


def refusals(entries: list[Mapping[str, Any]], devices: Collection[str]) -> list[str]:
    """Return the chains of others that refuse what pods send or get, as sentences.

    `entries` are base chains of the hook forward with their rules, `devices` the bridge's name and the
    overlay's. Only what is certain counts: a rule that asks for nothing but these devices, before any that
    may accept.
    """
    rules = list(of_kind("rule", entries))
    found = []
    for chain in of_kind("chain", entries):
        where = [chain.get(key) for key in ("family", "table", "name")]
        own = (rule for rule in rules if [rule.get(key) for key in ("family", "table", "chain")] == where)
        first = next((rule for rule in own if _may_accept(rule) or _refuses(rule, devices)), None)
        if first is not None and _refuses(first, devices):
            of = f"of {', '.join(_devices(first))}" if _devices(first) else "of all devices"
            found.append(f"Chain {' '.join(map(str, where))} drops packets {of} that pods send or get.")
    return found


def _may_accept(rule: Rule) -> bool:
    """Whether a rule may end with a new connection's packet accepted."""
    statements = rule.get("expr", [])
    states = [item["match"]["right"] for item in statements if _left(item, "ct") == "state"]
    if any("new" not in state for state in states):
        return False
    return any({"accept", "jump", "goto", "vmap"} & item.keys() for item in statements)


def _refuses(rule: Rule, devices: Collection[str]) -> bool:
    """Whether a rule refuses all packets that go in or out by some of these devices."""
    statements = [item for item in rule.get("expr", []) if not _is_remark(item)]
    conditions = [item for item in statements if "match" in item]
    rest = [item for item in statements if "match" not in item]
    plain = all({"counter", "log"} & item.keys() or _is_refusal(item) for item in rest)
    managed = all(
        _left(item, "meta") in DIRECTIONS
        and item["match"]["op"] == "=="
        and item["match"]["right"] in devices
        for item in conditions
    )
    return plain and managed and any(map(_is_refusal, rest))


def _left(statement: Mapping[str, Any], kind: str) -> str:
    """Return what a match asks of `meta` or `ct`; empty for anything else."""
    left = (statement.get("match") or {}).get("left")
    about = left.get(kind) if isinstance(left, Mapping) else None
    return str(about.get("key")) if isinstance(about, Mapping) else ""


def _devices(rule: Rule) -> list[str]:
    return [str(item["match"]["right"]) for item in rule.get("expr", []) if "match" in item]


def removal(family: str, rules: Iterable[Rule]) -> str:
    """Return the transaction that removes our rules from these, empty where there are none."""
    return "".join(
        f"delete rule {family} {TABLE} {CHAIN} handle {int(rule['handle'])}\n"
        for rule in rules
        if _has_comment(rule)
    )


def _accepting(command: str) -> str:
    rule = f'{command} {{}} "{BRIDGE_DEVICE}" counter accept comment "{COMMENT}"\n'
    return "".join(rule.format(direction) for direction in DIRECTIONS)


def _has_comment(rule: Rule) -> bool:
    return rule.get("comment") == COMMENT


def _direction(rule: Rule) -> str:
    """Return the direction that a rule of the mesh accepts, empty where somebody changed it."""
    expressions = rule.get("expr", [])
    matches = {
        direction: {"match": {"op": "==", "left": {"meta": {"key": direction}}, "right": BRIDGE_DEVICE}}
        for direction in DIRECTIONS
        if {"accept": None} in expressions
    }
    return next((direction for direction, match in matches.items() if match in expressions), "")


def of_kind(kind: str, entries: Entries) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of one kind: `table`, `chain`, `rule`."""
    return (entry[kind] for entry in entries if kind in entry)


def refuses_all(rule: Rule, chains: Mapping[str, list[Rule]], depth: int = 0) -> bool:
    """Whether no packet gets past the rule but what earlier ones took; `chains` are its table's rules."""
    statements = [item for item in rule.get("expr", []) if not _is_remark(item)]
    if depth > _DEEPEST or not all(_UNCONDITIONAL & item.keys() or _is_refusal(item) for item in statements):
        return False
    return any(
        _is_refusal(item)
        or any(
            refuses_all(inner, chains, depth + 1) for name in targets(item) for inner in chains.get(name, ())
        )
        for item in statements
    )


def targets(value: Any) -> Iterator[str]:
    """Yield the chains that a statement can lead to, those of verdict maps too."""
    if isinstance(value, Mapping):
        for verdict in ("jump", "goto"):
            if isinstance(value.get(verdict), Mapping):
                yield str(value[verdict].get("target", ""))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from targets(item)


def _is_refusal(statement: Mapping[str, Any]) -> bool:
    extension = statement.get("xt") or {}
    return bool({"drop", "reject"} & statement.keys()) or (
        extension.get("type") == "target" and extension.get("name") == "REJECT"
    )


def _is_remark(statement: Mapping[str, Any]) -> bool:
    extension = statement.get("xt") or {}
    return (extension.get("type"), extension.get("name")) == ("match", "comment")

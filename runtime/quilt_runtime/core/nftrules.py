"""What rules of others in nftables come to, by what `nft -j list …` prints: whether they refuse the rest.

iptables-nft writes its extensions as `xt`, of which nft shows no more than the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Rule = Mapping[str, Any]
Entries = Iterable[Mapping[str, Any]]
"""What is listed under "nftables"."""

# Statements that a packet always passes; any other one may be a condition.
_UNCONDITIONAL = frozenset({"counter", "log", "drop", "reject", "jump", "goto"})
_DEEPEST = 16  # jumps of jumps, as the kernel has it


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

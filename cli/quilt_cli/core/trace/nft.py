"""What the tables of nftables do with a packet, from `nft -j list ruleset`: every base chain of a hook.

What a rule asks for that is not known of the packet, or is not read here (limits, marks, extensions of
iptables, sets whose elements were left out), neither matches nor fails to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from quilt_cli.core.trace.kernel import Kernel, Plain
from quilt_cli.core.trace.nft_match import UNKNOWN, Look, equals, matches, value_of
from quilt_cli.core.trace.nft_text import text_of
from quilt_cli.core.trace.packet import PASSES, Fate, Outcome, Packet, both
from quilt_cli.core.trace.walk import ACCEPT, DROP, NONE, RETURN, Ruling, walk

Table = tuple[str, str]
"""Family and name."""
_SILENT = frozenset({"counter", "log", "notrack", "mangle", "comment"})
_VERDICTS = {"accept": ACCEPT, "drop": DROP, "reject": DROP, "return": RETURN, "jump": "jump", "goto": "goto"}


def judge(
    kernel: Kernel, packet: Packet, hooks: Collection[str], skip: Collection[Table] = ()
) -> list[Outcome]:
    """Return what each base chain of type filter at these hooks comes to, but of the tables `skip`."""
    found = []
    by_table = _by_table(kernel)
    for chain in kernel.nft("chain"):
        table = (str(chain.get("family")), str(chain.get("table")))
        if chain.get("hook") not in hooks or chain.get("type") != "filter" or table in skip:
            continue
        if table[0] in ("inet", "ip6" if packet.source.version == 6 else "ip"):
            look, held = Look(kernel, packet, table), by_table.get(table, {})
            policy = _policy(chain)
            rules = lambda name, look=look, held=held: _rulings(look, held.get(name, ()))  # noqa: E731
            found.append(walk(str(chain["name"]), policy, rules))
    return found


def _policy(chain: Plain) -> Outcome:
    if chain.get("policy") != "drop":
        return PASSES
    return Outcome(Fate.DROPPED, f"{chain['family']} {chain['table']} {chain['name']}: its policy is drop")


def _by_table(kernel: Kernel) -> dict[Table, dict[str, list[Plain]]]:
    found: dict[Table, dict[str, list[Plain]]] = {}
    for rule in kernel.nft("rule"):
        table = (str(rule.get("family")), str(rule.get("table")))
        found.setdefault(table, {}).setdefault(str(rule.get("chain")), []).append(rule)
    return found


def _rulings(look: Look, rules: Iterable[Plain]) -> Iterator[Ruling]:
    return (_ruling(look, rule) for rule in rules)


def _ruling(look: Look, rule: Plain) -> Ruling:
    """What a rule comes to: its verdict is its last statement."""
    held: bool | None = True
    text = text_of(rule)
    for statement in rule.get("expr") or ():
        kind, what = next(iter(statement.items()))
        if kind == "match":
            held = both(held, matches(look, what))
        elif kind == "vmap":
            fits, verdict = _mapped(look, what)
            return _ended(both(held, fits), verdict, text)
        elif kind in _VERDICTS:
            return _ended(held, statement, text)
        elif kind not in _SILENT:
            held = both(held, None)
        if held is False:
            break
    return Ruling(False, NONE, text)


def _ended(held: bool | None, verdict: Plain, text: str) -> Ruling:
    kind, what = next(iter(verdict.items())) if verdict else ("", None)
    chain = str(what.get("target", "")) if isinstance(what, Mapping) else ""
    return Ruling(held, _VERDICTS.get(kind, NONE), text, chain)


def _mapped(look: Look, vmap: Plain) -> tuple[bool | None, Plain]:
    """Whether a verdict map has an entry for the packet, and its verdict; none where it is not listed."""
    value = value_of(look.packet, vmap.get("key"))
    pairs: Any = vmap.get("data")
    pairs = pairs.get("set") if isinstance(pairs, Mapping) else None
    if value is UNKNOWN or pairs is None:
        return None, {}
    for key, verdict in pairs:
        fits = equals(look, value, key)
        if fits is not False:
            return fits, verdict
    return False, {}

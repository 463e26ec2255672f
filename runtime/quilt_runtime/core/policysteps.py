"""What leads from one structure of the table `inet quilt-policy` to another, as transactions of nft.

What comes is made before elements are written, and what leaves is removed after it: a chain or set that is
still in use cannot be removed, and one that is not in use yet judges nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TypeVar

from quilt_runtime.core.policy import FAMILY, TABLE, Structure
from quilt_runtime.core.policysets import Entries

_WHERE = f"{FAMILY} {TABLE}"
T = TypeVar("T")
Chains = Mapping[str, tuple[str, ...] | None]


def before(held: Structure, wanted: Structure) -> str:
    """Return what is to be done before elements are written, empty where there is nothing.

    What is there and unknown is written again: chains in place, sets as far as they are declared alike.
    """
    lines = [f"add {_in_table(text)}" for text in _differing(held.sets, wanted.sets).values()]
    chains, bases = _differing(held.chains, wanted.chains), _differing(held.bases, wanted.bases)
    lines += [f"add chain {_WHERE} {name}" for name in chains]
    lines += [f"add chain {_WHERE} {name} {{ {rules[0]} }}" for name, rules in bases.items() if rules]
    lines += [f"flush chain {_WHERE} {name}" for name in (*chains, *bases) if name in _all_chains(held)]
    lines += _rules(chains, 0)
    lines += _rules(bases, 1)
    return _text([f"add table {_WHERE}", *lines]) if lines else ""


def judge_otherwise(held: Structure, wanted: Structure) -> bool:
    """Whether a chain that stays is unknown, or has other rules than before, aside from those that log."""
    if None in held.chains.values() or None in held.bases.values():
        return True
    stay = held.chains.keys() & wanted.chains.keys()
    both = ((held.chains[name], wanted.chains[name]) for name in stay)
    return any(had != has and _judging(had) != _judging(has) for had, has in both)


def after(held: Structure, wanted: Structure) -> str:
    """Return what is to be done when elements were written, empty where there is nothing."""
    bases = [name for name in held.bases if name not in wanted.bases]
    chains = [name for name in held.chains if name not in wanted.chains]
    lines = [f"flush chain {_WHERE} {name}" for name in (*bases, *chains)]
    lines += [f"delete chain {_WHERE} {name}" for name in (*bases, *chains)]
    sets = [text.split(" ", 2) for name, text in held.sets.items() if name not in wanted.sets]
    lines += [f"delete {kind} {_WHERE} {name}" for kind, name, *_ in sets]
    return _text(lines)


def again(wanted: Structure, entries: Entries) -> str:
    """Return the transaction that replaces the table, whatever it was, by one with these entries of maps."""
    lines = [
        f"add element {_WHERE} {name} {{ {ip_address(key)} : jump {chain} }}"
        for name, own in entries.items()
        for key, chain in own.items()
    ]
    return removal() + before(Structure(), wanted) + _text(lines)


def removal() -> str:
    """Return the transaction after which the table is gone, whether it was there or not."""
    return f"table {_WHERE} {{}}\ndelete table {_WHERE}\n"


def _judging(rules: tuple[str, ...] | None) -> list[str]:
    return [rule for rule in rules or () if " log prefix " not in rule]


def _rules(chains: Chains, first: int) -> Iterator[str]:
    for name, rules in chains.items():
        for rule in (rules or ())[first:]:
            yield f"add rule {_WHERE} {name} {rule}"


def _all_chains(held: Structure) -> Chains:
    return {**held.chains, **held.bases}


def _differing(held: Mapping[str, T], wanted: Mapping[str, T]) -> dict[str, T]:
    return {name: text for name, text in wanted.items() if name not in held or held[name] != text}


def _in_table(declared: str) -> str:
    """Return `set NAME {…}` as a command in the table."""
    kind, name, body = declared.split(" ", 2)
    return f"{kind} {_WHERE} {name} {body}"


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

"""The table of network policies as plans write it: elements and chains by name, without a kernel.

What nft refuses is refused here: an element that is there already or is not there, a chain or set that is
deleted while something names it, and a rule about a set or a counter that does not exist.
"""

from __future__ import annotations

from itertools import pairwise

from quilt_netlink.nftsets import Element, Flush, SetChange
from quilt_runtime.core.policyplan import Plan
from quilt_runtime.core.policysets import Changes

Key = tuple[bytes, bool]
"""An address, and whether it is the one behind an interval."""


class PolicyKernel:
    """`members` are chains by element, of a set empty; `chains` are rules, of a base chain its hook first."""

    def __init__(self) -> None:
        self.members: dict[str, dict[Key, str]] = {}
        self.chains: dict[str, list[str]] = {}
        self._counters: set[str] = set()

    def carry_out(self, steps: Plan) -> None:
        """Do all of a plan, in order."""
        self._run(steps.before)
        for part in steps.fill:
            self._change(part)
        self._change(steps.changes)
        self._run(steps.after)

    def _run(self, text: str) -> None:
        for line in text.splitlines():
            verb, kind, _, _, *rest = line.split()
            if (verb, kind) != ("add", "table"):
                getattr(self, f"_{verb}_{kind.replace('map', 'set')}")(*rest)

    def _add_set(self, name: str, *_: str) -> None:
        self.members.setdefault(name, {})

    def _add_counter(self, name: str, *_: str) -> None:
        self._counters.add(name)

    def _add_chain(self, name: str, *hook: str) -> None:
        rules = self.chains.setdefault(name, [])
        if hook and not rules:
            rules.append(" ".join(hook))

    def _flush_chain(self, name: str) -> None:
        del self.chains[name][0 if " hook " not in "".join(self.chains[name][:1]) else 1 :]

    def _add_rule(self, name: str, *words: str) -> None:
        named = [word[1:] for word in words if word.startswith("@")]
        assert all(one in self.members for one in named), f"{named} are not all there"
        assert "goto" not in words or words[words.index("goto") + 1] in self.chains
        counted = {after for word, after in pairwise(words) if word == "name"}
        assert counted <= self._counters, f"{counted} are not all there"
        self.chains[name].append(" ".join(words))

    def _delete_chain(self, name: str) -> None:
        rules = [rule for own, held in self.chains.items() if own != name for rule in held]
        assert not any(f"goto {name}" in f"{rule} " for rule in rules if f"goto {name}-" not in rule)
        assert not any(name in held.values() for held in self.members.values()), f"{name} is in use"
        del self.chains[name]

    def _delete_set(self, name: str) -> None:
        words = {word for rules in self.chains.values() for rule in rules for word in rule.split()}
        assert f"@{name}" not in words, f"{name} is in use"
        del self.members[name]

    def _change(self, changes: Changes) -> None:
        for one in changes:
            if isinstance(one, Flush):
                self.members[one.name].clear()
            else:
                self._move(one)

    def _move(self, change: SetChange) -> None:
        held = self.members[change.name]
        for address in change.addresses:
            element = address if isinstance(address, Element) else Element(bytes(address))  # type: ignore[arg-type]
            key = element.key, element.ends
            assert (key in held) is not change.new, f"{change.name} refuses {element}"
            if change.new:
                held[key] = element.chain
            else:
                del held[key]

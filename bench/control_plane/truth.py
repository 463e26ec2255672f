"""What the API server says about claims, in the order in which it happened, and what was wrong in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_network

from bench.control_plane.wire import Json


class Truth:
    """Follows every change of a claim; `nodes` are those that should have a subnet."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._claims: dict[str, Json] = {}
        self._serving: Counter[str] = Counter()
        self._news: dict[str, asyncio.Event] = {}
        self.nodes: set[str] = set()
        self.faults: list[str] = []
        self.most = 0
        self.made = 0

    def see(self, kind: str, claim: Json) -> None:
        """Enter one event of a watch."""
        name, node = claim["metadata"]["name"], claim["spec"]["node"]
        before = self._claims.pop(name, None)
        self._serving[node] -= _serves(before)
        if kind == "DELETED":
            self._check_deletion(claim)
            return
        if kind == "ADDED":
            self.made += 1
            self._check_overlap(claim["spec"]["cidr"], node)
        self._claims[name] = claim
        self._serving[node] += _serves(claim)
        self.most = max(self.most, len(self._claims))
        if _serves(claim) and node in self._news:
            self._news.pop(node).set()

    def serves(self, node: str) -> bool:
        """Whether a claim of the node is published."""
        return self._serving[node] > 0

    async def serving(self, node: str, within: float) -> None:
        """Wait until a claim of the node is published, but not for ever: the check in the end tells."""
        if self.serves(node):
            return
        try:
            async with asyncio.timeout(within):
                await self._news.setdefault(node, asyncio.Event()).wait()
        except TimeoutError:
            return

    def _check_deletion(self, claim: Json) -> None:
        name, mesh = claim["metadata"]["name"], claim["mesh"]
        if mesh["phase"] != "Releasing":
            self.faults.append(f"{name} of {claim['spec']['node']} was deleted while {mesh}")
            return
        age = (datetime.now(UTC) - datetime.fromisoformat(mesh["releasedAt"])).total_seconds()
        if age < self._grace:
            self.faults.append(f"{name} was deleted {age:.1f} s after its release")

    def _check_overlap(self, cidr: str, node: str) -> None:
        new = ip_network(cidr)
        for other in self._claims.values():
            if new.overlaps(ip_network(other["spec"]["cidr"])):
                self.faults.append(f"{cidr} for {node} while {other['spec']['node']} has it")

    def wrong(self, items: Iterable[Json]) -> list[str]:
        """What is wrong in a complete list, once all is calm."""
        items = list(items)
        owners = Counter(item["spec"]["node"] for item in items)
        cidrs = [ip_network(item["spec"]["cidr"]) for item in items]
        found = [f"{node} has {owners[node]} subnets" for node in self.nodes if owners[node] != 1]
        found += [f"claim of {node} leaked" for node in owners.keys() - self.nodes]
        found += [f"{a} overlaps {b}" for i, a in enumerate(cidrs) for b in cidrs[:i] if a.overlaps(b)]
        found += [f"{i['metadata']['name']} is {i['mesh']}" for i in items if i["mesh"]["phase"] != "Up"]
        listed = {item["metadata"]["name"] for item in items}
        if listed != self._claims.keys():
            found.append(f"the watch and the list differ in {sorted(listed ^ self._claims.keys())[:5]}")
        return found


def _serves(claim: Json | None) -> bool:
    return claim is not None and claim["mesh"]["phase"] == "Up"

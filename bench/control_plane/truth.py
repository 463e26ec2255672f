"""What the API server says about claims, in the order in which it happened, and what was wrong in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_network

from bench.control_plane.wire import Json


class Truth:
    """Follows every change of a claim.

    `addresses` are the host addresses of the nodes that should have a subnet, `used` what their runtimes
    serve with the resourceVersion of that report, `prepared` those of them that no agent has reported from.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._claims: dict[str, Json] = {}
        self._claims_of: dict[str, dict[str, Json]] = {}
        self._serving: Counter[str] = Counter()
        self._news: dict[str, asyncio.Event] = {}
        self._entered: dict[str, int] = {}
        self._reported: dict[str, tuple[str, int]] = {}
        self.addresses: dict[str, str] = {}
        self.used: dict[str, tuple[str, int]] = {}
        self.prepared: set[str] = set()
        self.faults: list[str] = []
        self.most = 0
        self.made = 0

    def enter(self, node: str, host_ip: str, version: int, *, prepared: bool) -> None:
        """A node should have a subnet from now on; its QuiltNode was made as of `version`.

        A claim of its name that no operator has written since is what a former node left: an operator that
        looked for the node just before it came may still release it, and the next report restores that.
        """
        self.addresses[node] = host_ip
        self._entered[node] = version
        if prepared:
            self.prepared.add(node)

    def leave(self, node: str) -> None:
        """A node is to have none any more."""
        del self.addresses[node]
        self.used.pop(node, None)
        self._reported.pop(node, None)
        self.prepared.discard(node)

    def serves_pods(self, node: str, subnet: str, version: int) -> None:
        """The node's agent has reported what its runtime serves: pods may have addresses of it now.

        `version` is the report's: what was done to a claim before it is no fault, however late the watch.
        """
        self._reported[node] = subnet, version
        for claim in list(self._claims_of.get(node, {}).values()):
            self._note_use(claim)

    def serves_none(self, node: str) -> None:
        """No pod of the node has an address any more."""
        self.used.pop(node, None)
        self._reported.pop(node, None)

    def _note_use(self, claim: Json) -> None:
        node, version = claim["spec"]["node"], int(claim["metadata"]["resourceVersion"])
        subnet, reported = self._reported.get(node, ("", 0))
        current = claim["spec"]["cidr"] == subnet and claim["mesh"]["phase"] != "Releasing"
        if current and version > self._entered.get(node, version):
            self.used[node] = subnet, reported

    def usable(self, node: str) -> set[str]:
        """Subnets of a node that are not being released."""
        return {
            claim["spec"]["cidr"]
            for claim in self._claims_of.get(node, {}).values()
            if claim["mesh"]["phase"] != "Releasing"
        }

    def see(self, kind: str, claim: Json) -> None:
        """Enter one event of a watch."""
        name, node = claim["metadata"]["name"], claim["spec"]["node"]
        before = self._claims.pop(name, None)
        self._claims_of.get(node, {}).pop(name, None)
        self._serving[node] -= _serves(before)
        gone = kind == "DELETED" or claim["mesh"]["phase"] == "Releasing"
        used, reported = self.used.get(node, ("", 0))
        if gone and used == claim["spec"]["cidr"] and int(claim["metadata"]["resourceVersion"]) > reported:
            self.faults.append(f"{name} is {kind} {claim['mesh']} while pods of {node} have addresses of it")
        if kind == "DELETED":
            self._check_deletion(claim)
            return
        if kind == "ADDED":
            self.made += 1
            self._check_overlap(claim["spec"]["cidr"], node)
        self._claims[name] = self._claims_of.setdefault(node, {})[name] = claim
        self._note_use(claim)
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
        found = [f"{node} has {owners[node]} subnets" for node in self.addresses if owners[node] != 1]
        found += [f"claim of {node} leaked" for node in owners.keys() - self.addresses.keys()]
        found += [f"{a} overlaps {b}" for i, a in enumerate(cidrs) for b in cidrs[:i] if a.overlaps(b)]
        found += [text for item in items if (text := self._astray(item))]
        listed = {item["metadata"]["name"] for item in items}
        if listed != self._claims.keys():
            found.append(f"the watch and the list differ in {sorted(listed ^ self._claims.keys())[:5]}")
        return found

    def _astray(self, claim: Json) -> str:
        node, mesh = claim["spec"]["node"], claim["mesh"]
        wanted = (
            {"phase": "Down"}
            if node in self.prepared
            else {"phase": "Up", "hostIP": self.addresses.get(node)}
        )
        return "" if mesh == wanted else f"{claim['metadata']['name']} of {node} is {mesh}, not {wanted}"


def _serves(claim: Json | None) -> bool:
    return claim is not None and claim["mesh"]["phase"] == "Up"

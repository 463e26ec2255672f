"""Nodes as their administrator, kubelet, agent and runtime would act, for the chaos run.

A member's runtime serves one subnet; pods have addresses of it, so whatever the operators do, they must not
take it away. Addresses come from a pool, as by DHCP, and go from machine to machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any

from bench.control_plane.agents import address
from bench.control_plane.truth import Truth
from bench.control_plane.wire import APPLY, JSON, MERGE, Json, Wire
from quilt_crds.names import AGENT_FIELD_MANAGER, API_VERSION, QUILTNODE

# Seconds at most until the pods of a node that moves are gone.
_DRAINS = 0.5
# Seconds after which every operator has received a report, however late its watch.
_RECEIVED = 3.0
_POLL = 0.1


@dataclass(eq=False)
class Member:
    """One node; `number` says its host address, `wish` is its spec.subnet."""

    name: str
    number: int
    prepared: bool = False
    served: str = ""
    wish: str = ""
    moved: float = -inf
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)


class Crowd:
    """Members of the mesh and what they do; every change of a claim is reported by `claim_changed`."""

    def __init__(self, wire: Wire, truth: Truth, chance: random.Random, names: int) -> None:
        self._wire, self._truth, self._random = wire, truth, chance
        self._addresses = deque(range(1, 2 * names))
        self._tasks: set[asyncio.Task[None]] = set()
        self.members: dict[str, Member] = {}
        self.moved = self.swapped = self.prepared = self.mistaken = 0

    async def join(self, name: str) -> Member:
        """A node joins as its kubelet and its agent make it known."""
        member = Member(name, self._addresses.popleft())
        await self._appear(member)
        self._enter(member, await self._register(member))
        await self._tell(member)
        return member

    async def prepare(self, name: str, wish: str) -> Member:
        """An administrator makes the QuiltNode of a machine that is yet to come."""
        member = Member(name, self._addresses.popleft(), prepared=True, wish=wish)
        self._enter(member, await self._register(member))
        self.prepared += 1
        return member

    async def arrive(self, member: Member) -> None:
        """The machine of a prepared node comes."""
        async with member.busy:
            await self._appear(member)
            member.prepared = False
            self._truth.prepared.discard(member.name)
            self._consider(member)
            await self._tell(member)

    async def leave(self, member: Member) -> None:
        """The node is gone, and so are its objects, in whichever order."""
        async with member.busy:
            del self.members[member.name]
            self._truth.leave(member.name)
            paths = [
                QUILTNODE.path(member.name),
                *([] if member.prepared else [f"/api/v1/nodes/{member.name}"]),
            ]
            self._random.shuffle(paths)
            for path in paths:
                await self._wire.ok("DELETE", path)
            self._addresses.append(member.number)

    async def wish(self, member: Member, subnet: str) -> None:
        """An administrator sets spec.subnet; an empty one withdraws it."""
        async with member.busy:
            # An operator that has not yet received a move releases what is wished no more; the next report
            # restores that. It is no loss that would last, so nobody is so quick here.
            while (early := member.moved + _RECEIVED - time.monotonic()) > 0:  # noqa: ASYNC110 - it may grow
                await asyncio.sleep(min(early, _POLL))
            member.wish = subnet
            self.moved += 1
            body = {"spec": {"subnet": subnet}}
            await self._wire.ok("PATCH", QUILTNODE.path(member.name), body, MERGE)
        self._consider(member)

    async def swap(self, one: Member) -> None:
        """Two nodes come back with each other's address."""
        others = [m for m in self.members.values() if m is not one and not m.prepared and not m.busy.locked()]
        if not others or one.prepared:
            return
        other = self._random.choice(others)
        first, second = sorted((one, other), key=lambda member: member.name)
        async with first.busy, second.busy:
            if self.members.get(other.name) is not other:
                return
            one.number, other.number = other.number, one.number
            self.swapped += 1
            self._truth.addresses |= {member.name: address(member.number) for member in (one, other)}
            news = [(self._tell_host, one), (self._tell_host, other), (self._tell, one), (self._tell, other)]
            self._random.shuffle(news)
            for tell, member in news:
                await tell(member)

    async def mistake(self, member: Member) -> None:
        """Somebody deletes the QuiltNode of a node that runs; its agent makes it again."""
        if member.prepared:
            return
        async with member.busy:
            self.mistaken += 1
            member.wish = ""
            await self._wire.ok("DELETE", QUILTNODE.path(member.name))
            await asyncio.sleep(self._random.uniform(0.0, 0.5))
            await self._register(member)
            await self._tell(member)

    def claim_changed(self, claim: Json) -> None:
        """What an agent makes of a claim of its node."""
        member = self.members.get(claim["spec"]["node"])
        if member is not None:
            self._consider(member)

    def failed(self) -> list[str]:
        """What ended members' work that should not have."""
        return [repr(error) for task in self._tasks if task.done() and (error := task.exception())]

    def _consider(self, member: Member) -> None:
        if member.prepared:
            return
        mine = self._truth.usable(member.name)
        if member.served not in mine and mine:
            self._serve(member, member.wish if member.wish in mine else min(mine))
        elif member.wish in mine and member.wish != member.served:
            self._start(self._drain(member, member.wish))

    async def _drain(self, member: Member, subnet: str) -> None:
        await asyncio.sleep(self._random.uniform(0.0, _DRAINS))
        stays = self.members.get(member.name) is member
        if stays and member.wish == subnet and subnet in self._truth.usable(member.name):
            self._serve(member, subnet)

    def _serve(self, member: Member, subnet: str) -> None:
        if member.served == subnet:
            return
        # From one to the other no pod has an address; of the other one once the operators could know.
        self._truth.serves_none(member.name)
        member.served, member.moved = subnet, inf
        self._start(self._tell(member))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = {task for task in self._tasks if not task.done() or task.exception()}
        self._tasks.add(asyncio.create_task(work))

    def _enter(self, member: Member, version: int) -> None:
        self.members[member.name] = member
        self._truth.enter(member.name, address(member.number), version, prepared=member.prepared)
        self._consider(member)

    async def _appear(self, member: Member) -> None:
        body = {"metadata": {"name": member.name}, "status": self._host(member)}
        await self._wire.ok("POST", "/api/v1/nodes", body, JSON)

    async def _register(self, member: Member) -> int:
        """Make the QuiltNode; its version."""
        spec = {"subnet": member.wish} if member.wish else {}
        body = {**_quiltnode(member), "spec": spec}
        made = json.loads(await self._wire.ok("POST", QUILTNODE.path(), body, JSON))
        return int(made["metadata"]["resourceVersion"])

    async def _tell(self, member: Member) -> None:
        """The agent's part of the status; nobody hears it while the QuiltNode is gone."""
        async with member.telling:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            synced = {
                "type": "DataplaneInSync",
                "status": "True",
                "reason": "Chaos",
                "lastTransitionTime": now,
            }
            served = member.served
            status = {"hostIP": address(member.number), "conditions": [synced],
                      "servedSubnets": [served] if served else []}  # fmt: skip
            query = f"?fieldManager={AGENT_FIELD_MANAGER}&force=true"
            path = QUILTNODE.path(member.name, "status") + query
            code, answer = await self._wire.request(
                "PATCH", path, {**_quiltnode(member), "status": status}, APPLY
            )
            if member.served == served:
                member.moved = time.monotonic()
            if code < 400 and self.members.get(member.name) is member and member.served == served:
                version = int(json.loads(answer)["metadata"]["resourceVersion"])
                self._truth.serves_pods(member.name, served, version)
            elif code >= 400 and code != 404:
                raise RuntimeError(f"status of {member.name}: {code} {answer[:200]!r}")

    async def _tell_host(self, member: Member) -> None:
        await self._wire.ok(
            "PATCH", f"/api/v1/nodes/{member.name}/status", {"status": self._host(member)}, MERGE
        )

    def _host(self, member: Member) -> Json:
        return {"addresses": [{"type": "InternalIP", "address": address(member.number)}]}


def choose(chance: random.Random, subnets: Iterable[str]) -> str:
    """One of the subnets that an administrator might wish for, or none."""
    return chance.choice([*subnets, ""])


def _quiltnode(member: Member) -> Json:
    return {"apiVersion": API_VERSION, "kind": QUILTNODE.kind, "metadata": {"name": member.name}}

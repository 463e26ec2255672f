"""Writing this node's status: only when it says something new, and never in a hurry.

Every field that the agent owns is repeated in each apply, for server-side apply deletes what its manager no
longer sends. A change that is gone again within the settling time is not written at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from quilt_crds.names import AGENT_CONDITIONS, AGENT_FIELD_MANAGER, QUILTNODE, wire_name
from quilt_crds.wire import Condition, QuiltNodeStatus, find_condition
from quilt_kube.aio import Client
from quilt_kube.backoff import Backoff
from quilt_kube.request import ApiError, UnreachableError, apply
from quilt_log import log

# Seconds: a repaired drift of milliseconds is in the metrics and the log, it is no news for the API.
_SETTLE = 1.0
# Fields that the CRDs of an older release do not have; a server-side apply that names one is refused whole.
_NEWER: Final = ("served_subnets",)


@dataclass
class StatusWriter:
    """Keeps the agent's part of a QuiltNode's status as `facts` and `conditions` say.

    `facts()` returns the agent's fields of a QuiltNodeStatus; call `changed()` when either may differ.
    """

    client: Client
    name: str
    facts: Callable[[], dict[str, Any]]
    conditions: Callable[[], list[Condition]]

    def __post_init__(self) -> None:
        self._dirty = asyncio.Event()
        self._held: QuiltNodeStatus | None = None
        self._left_out: frozenset[str] = frozenset()

    def changed(self) -> None:
        """Tell that the status may have to be written again."""
        self._dirty.set()

    def observed(self, status: QuiltNodeStatus) -> None:
        """Take in what the API holds: a field that somebody changed is written again."""
        self._held = status
        self._dirty.set()

    async def run(self) -> None:
        """Write for ever; failures are retried, the latest state wins."""
        backoff = Backoff(1.0, 30.0)
        while True:
            await self._dirty.wait()
            if self._held is not None and self._held.host_ip:
                # A node without a published address waits for nothing: its subnet waits for the address.
                await asyncio.sleep(_SETTLE)
            self._dirty.clear()
            if self._held is None:
                continue
            try:
                if self._differs(self._held):
                    await self._write(self._held)
                backoff.reset()
            except (ApiError, UnreachableError) as error:
                log.debug("status_not_written", error=str(error))
                self._dirty.set()
                await asyncio.sleep(backoff.delay())

    async def _write(self, held: QuiltNodeStatus) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = tuple(
            condition.settled(find_condition(held.conditions, condition.type), now)
            for condition in self.conditions()
        )
        try:
            await self._apply(conditions)
        except ApiError as error:
            unknown = {
                name for name in _NEWER if f".status.{wire_name(name)}: field not declared" in str(error)
            }
            if not unknown - self._left_out:
                raise
            # The CRDs are of an older release, as in a roll-back: the rest must be written all the same.
            log.warning("status_fields_unknown", fields=sorted(map(wire_name, unknown)))
            self._left_out |= unknown
            await self._apply(conditions)
        self._held = msgspec.structs.replace(held, conditions=conditions, **self._known_facts())
        log.info("status_written", **{c.type: f"{c.status}/{c.reason}" for c in conditions})

    async def _apply(self, conditions: tuple[Condition, ...]) -> None:
        facts = {wire_name(name): value for name, value in self._known_facts().items()}
        document = QUILTNODE.document({"name": self.name}, status={**facts, "conditions": conditions})
        await self.client.send(apply(QUILTNODE.path(self.name, "status"), document, AGENT_FIELD_MANAGER))

    def _known_facts(self) -> dict[str, Any]:
        return {name: value for name, value in self.facts().items() if name not in self._left_out}

    def _differs(self, held: QuiltNodeStatus) -> bool:
        wanted = self.conditions()
        own = {condition.type for condition in held.conditions} & {*AGENT_CONDITIONS}
        if not own <= {condition.type for condition in wanted}:
            return True
        for condition in wanted:
            before = find_condition(held.conditions, condition.type)
            if before is None or condition.settled(before, before.last_transition_time) != before:
                return True
        return any(getattr(held, name) != value for name, value in self._known_facts().items())

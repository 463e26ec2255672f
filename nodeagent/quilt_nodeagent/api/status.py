"""Writing this node's status: only when it says something new, and never in a hurry.

Every field that the agent owns is repeated in each apply, for server-side apply deletes what its manager no
longer sends. A change that is gone again within the settling time is not written at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from quilt_crds.names import AGENT_FIELD_MANAGER, API_VERSION, QUILTNODE
from quilt_nodeagent.api.backoff import Backoff
from quilt_nodeagent.api.client import ApiClient, ApiError, ApiUnreachableError
from quilt_nodeagent.core.conditions import Condition

log = structlog.get_logger()

# Seconds: a repaired drift of milliseconds is in the metrics and the log, it is no news for the API.
_SETTLE = 1.0
# Fields that the CRDs of an older release do not have; a server-side apply that names one is refused whole.
_NEWER = ("servedSubnets",)


class StatusWriter:
    """Keeps the agent's part of a QuiltNode's status as `facts` and `conditions` say.

    `facts()` returns hostIP, hostname, cpuCores, memoryMB, version, servedSubnets; call `changed()` when
    either may differ.
    """

    def __init__(
        self,
        client: ApiClient,
        name: str,
        facts: Callable[[], dict[str, Any]],
        conditions: Callable[[], list[Condition]],
    ) -> None:
        self._client = client
        self._name = name
        self._facts = facts
        self._conditions = conditions
        self._dirty = asyncio.Event()
        self._held: dict[str, Any] | None = None
        self._left_out: frozenset[str] = frozenset()

    def changed(self) -> None:
        """Tell that the status may have to be written again."""
        self._dirty.set()

    def observed(self, status: dict[str, Any]) -> None:
        """Take in what the API holds: a field that somebody changed is written again."""
        self._held = status
        self._dirty.set()

    async def run(self) -> None:
        """Write for ever; failures are retried, the latest state wins."""
        backoff = Backoff(1.0, 30.0)
        while True:
            await self._dirty.wait()
            if self._held is not None and self._held.get("hostIP"):
                # A node without a published address waits for nothing: its subnet waits for the address.
                await asyncio.sleep(_SETTLE)
            self._dirty.clear()
            if self._held is None:
                continue
            try:
                if self._differs(self._held):
                    await self._write(self._held)
                backoff.reset()
            except (ApiError, ApiUnreachableError) as error:
                log.debug("status_not_written", error=str(error))
                self._dirty.set()
                await asyncio.sleep(backoff.delay())

    async def _write(self, held: dict[str, Any]) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        previous = held.get("conditions") or []
        conditions = [condition.wire(now, previous) for condition in self._conditions()]
        try:
            status = await self._apply({**self._known_facts(), "conditions": conditions})
        except ApiError as error:
            unknown = {name for name in _NEWER if f".status.{name}: field not declared" in str(error)}
            if not unknown - self._left_out:
                raise
            # The CRDs are of an older release, as in a roll-back: the rest must be told all the same.
            log.warning("status_fields_unknown", fields=sorted(unknown))
            self._left_out |= unknown
            status = await self._apply({**self._known_facts(), "conditions": conditions})
        self._held = {**held, **status}
        log.info("status_written", **{c["type"]: f"{c['status']}/{c['reason']}" for c in conditions})

    async def _apply(self, status: dict[str, Any]) -> dict[str, Any]:
        document = {
            "apiVersion": API_VERSION,
            "kind": QUILTNODE.kind,
            "metadata": {"name": self._name},
            "status": status,
        }
        await self._client.apply(QUILTNODE.path(self._name, "status"), document, AGENT_FIELD_MANAGER)
        return status

    def _known_facts(self) -> dict[str, Any]:
        return {name: value for name, value in self._facts().items() if name not in self._left_out}

    def _differs(self, held: dict[str, Any]) -> bool:
        listed = {item.get("type"): item for item in held.get("conditions") or []}
        for condition in self._conditions():
            item = listed.get(condition.type, {})
            if item != condition.wire(item.get("lastTransitionTime", ""), [item]):
                return True
        return any(held.get(name) != value for name, value in self._known_facts().items())

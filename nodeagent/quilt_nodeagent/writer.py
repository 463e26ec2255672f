"""Carrying a plan out: layer 2 through netlink, routes through the runtime, in the plan's order.

What fails holds back only what would lead packets astray: a route waits for its neighbour and FDB entry, and
those stay while a route over them could not be removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from quilt_nodeagent.core.plan import Hops, Plan, parts, reachable, without_routed
from quilt_nodeagent.core.state import Hop, Kind
from quilt_nodeagent.executor.client import Refusal
from quilt_nodeagent.executor.errors import RuntimeUnavailable
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.kernel.dataplane import Dataplane
from quilt_nodeagent.metrics import Metrics

# New routes in one call of the runtime: it works on one part while the next part's layer 2 is written.
_PART = 1_000


class PlanWriter:
    """Writes plans and confirms them into the dataplane's tables."""

    def __init__(self, dataplane: Dataplane, runtime: RuntimeLink, metrics: Metrics) -> None:
        self._dataplane = dataplane
        self._runtime = runtime
        self._metrics = metrics
        self.reached = True

    async def write(self, plan: Plan) -> list[str]:
        """Carry out as much of a plan as can be; return what was refused, as sentences.

        `reached` tells afterwards whether all of it was asked for: the runtime was there.
        """
        self.reached = True
        dataplane = self._dataplane
        errors = await self._write_unreachable(plan)
        waiting: list[Hops] = []
        tables, overlay = dataplane.tables, dataplane.overlay
        *early, last = parts(plan, tables, overlay, _PART)
        async with asyncio.TaskGroup() as group:
            calls = []
            for part in early:
                errors += dataplane.put(part.before)
                routes, waiting = reachable((*waiting, *part.routes), tables, overlay, dataplane.device)
                calls.append(group.create_task(self._write_routes(routes, ())))
                await asyncio.sleep(0)
            errors += dataplane.put(last.before)
            routes, _ = reachable((*waiting, *last.routes), tables, overlay, dataplane.device)
            errors += await self._write_routes(routes, last.stale_routes)
        for call in calls:
            errors += call.result()
        kept = [hop for prefix in plan.stale_routes if (hop := tables.routes.held(prefix))]
        errors += dataplane.drop(without_routed(plan, kept, tables, overlay).after)
        return list(dict.fromkeys(errors))

    async def _write_routes(self, add: Sequence[Hops], remove: Sequence[str]) -> list[str]:
        written: dict[str, Hop | None] = {**dict(add), **dict.fromkeys(remove)}
        return await self._ask("route", written, lambda: self._runtime.client.apply_routes(add, remove))

    async def _write_unreachable(self, plan: Plan) -> list[str]:
        add, remove = plan.unreachable, plan.stale_unreachable
        written: dict[str, bool | None] = {**dict.fromkeys(add, True), **dict.fromkeys(remove)}
        return await self._ask("unreachable", written, lambda: self._runtime.client.refuse(add, remove))

    async def _ask(
        self, kind: Kind, written: Mapping[str, object], call: Callable[[], Awaitable[list[Refusal]]]
    ) -> list[str]:
        """Have the runtime write, and confirm what it did not refuse."""
        if not written:
            return []
        table = self._dataplane.tables.of[kind]
        table.send(written)
        try:
            refusals = await call()
            refused = {refusal.destination for refusal in refusals}
            table.fail(refused)
            table.confirm(written.items())
        except RuntimeUnavailable as error:
            self._runtime.failed(error)
            self.reached = False
            return [str(error)]
        finally:
            table.fail(written)
        self._metrics.writes.labels(kind).inc(len(written) - len(refused))
        self._metrics.write_failures.labels(kind).inc(len(refused))
        self._metrics.runtime_errors.labels("RouteFailed").inc(len(refused))
        return [_sentence(refusal.destination, refusal.error) for refusal in refusals]


def _sentence(destination: str, error: str) -> str:
    text = error if destination in error else f"Route {destination}: {error}"
    return text if text.endswith(".") else f"{text}."

"""Carrying a plan out: layer 2 through netlink, routes through the runtime, in the plan's order.

What fails holds back only what would lead packets astray: a route waits for its neighbour and FDB entry, and
those stay while a route over them could not be removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quilt_nodeagent.core.plan import Hops, Plan, parts, reachable, without_routed
from quilt_nodeagent.executor.errors import RuntimeUnavailable
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.kernel.dataplane import Dataplane
from quilt_nodeagent.metrics import Metrics

# New routes in one call of the runtime: it works on one part while the next part's layer 2 is written.
_PART = 1_000


class PlanWriter:
    """Writes plans and confirms them into the dataplane's tracked view."""

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
        errors: list[str] = []
        waiting: list[Hops] = []
        *early, last = parts(plan, dataplane.tracked, _PART)
        async with asyncio.TaskGroup() as group:
            calls = []
            for part in early:
                errors += dataplane.put(part)
                routes, waiting = reachable((*waiting, *part.routes), dataplane.tracked, dataplane.device)
                calls.append(group.create_task(self._write_routes(routes, ())))
                await asyncio.sleep(0)
            errors += dataplane.put(last)
            routes, _ = reachable((*waiting, *last.routes), dataplane.tracked, dataplane.device)
            errors += await self._write_routes(routes, last.stale_routes)
        for call in calls:
            errors += call.result()
        kept = {hop.gateway for prefix in plan.stale_routes if (hop := dataplane.tracked.routes.get(prefix))}
        plan = without_routed(plan, kept, dataplane.tracked)
        return errors + dataplane.drop(plan)

    async def _write_routes(self, add: Sequence[Hops], remove: Sequence[str]) -> list[str]:
        if not add and not remove:
            return []
        unheard = self._dataplane.unheard
        prefixes = {prefix for prefix, _ in add}.union(remove)
        unheard |= prefixes
        try:
            refusals = await self._runtime.client.apply_routes(add, remove)
            refused = {refusal.destination for refusal in refusals}
            self._confirm(add, remove, unheard - refused)
        except RuntimeUnavailable as error:
            self._runtime.failed(error)
            self.reached = False
            return [str(error)]
        finally:
            unheard -= prefixes
        self._metrics.writes.labels("route").inc(len(add) + len(remove) - len(refused))
        self._metrics.write_failures.labels("route").inc(len(refused))
        self._metrics.runtime_errors.labels("RouteFailed").inc(len(refused))
        return [_sentence(refusal.destination, refusal.error) for refusal in refusals]

    def _confirm(self, add: Sequence[Hops], remove: Sequence[str], unheard: set[str]) -> None:
        """Take the answer for the kernel's state, but where the kernel itself told something meanwhile."""
        routes = self._dataplane.tracked.routes
        routes.update([item for item in add if item[0] in unheard])
        for prefix in remove:
            if prefix in unheard:
                routes.pop(prefix, None)


def _sentence(destination: str, error: str) -> str:
    text = error if destination in error else f"Route {destination}: {error}"
    return text if text.endswith(".") else f"{text}."

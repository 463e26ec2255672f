"""Having the runtime enforce what was compiled: everything at first or after a failure, else what changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_pods import encode
from quilt_pods.metrics import PolicyMetrics
from quilt_pods.runtime import PolicyRuntime, RefusedError, RuntimeLostError
from quilt_policy.change import Change
from quilt_policy.compile import Compiler
from quilt_policy.program import PodName, Program

# Seconds for which addresses behind a selector that is new here are waited for. To go on without would cut
# connections that policies allow; the operator needs some milliseconds, unless it is away.
_PATIENCE = 1.0
# The same before anything was sent. When policies are switched on the operator only begins to read all pods,
# while connections exist that policies of before allow.
_FIRST_PATIENCE = 30.0


class Sender:
    """Sends what `compiler` has for as long as `complete()`; `reported` hears that `problem` is another.

    `unknown()` are selectors of which no addresses are known yet.
    """

    def __init__(
        self,
        compiler: Compiler,
        runtime: PolicyRuntime,
        metrics: PolicyMetrics,
        *,
        complete: Callable[[], bool],
        unknown: Callable[[], set[str]],
        reported: Callable[[], None],
    ) -> None:
        self._compiler = compiler
        self._runtime = runtime
        self._metrics = metrics
        self._complete = complete
        self._unknown = unknown
        self._reported = reported
        self._wake = asyncio.Event()
        self._whole = True
        self._is_first = True
        self._without: set[str] = set()
        self._profiles: dict[PodName, tuple[str, str]] = {}
        self.problem = "Network policies are not known yet: the API server has not listed them."

    def changed(self) -> None:
        """Tell that something of it may be different; what comes in one turn of the loop is sent together."""
        self._wake.set()

    def restored(self) -> None:
        """Tell that the runtime knows nothing of what it was sent."""
        self._whole = True
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._complete():
                continue
            await self._wait_for_addresses()
            try:
                await self._send()
                self._say("")
                backoff.reset()
            except RuntimeLostError as error:
                self._say(f"Network policies do not reach the runtime: {error}.")
                await self._again(backoff)
            except RefusedError as error:
                if not error.forgot:
                    self._say(f"The runtime does not enforce the network policies: {error}")
                await self._again(backoff)

    async def _send(self) -> None:
        whole, self._whole = self._whole, False
        try:
            if whole:
                await self._send_all(self._compiler.program())
            elif change := self._compiler.change():
                await self._send_change(change)
            else:
                return
        except BaseException:
            # Nobody knows what it has now.
            self._whole = True
            raise
        self._is_first = False
        self._metrics.enforced.set(1)
        self._metrics.profiles.set(len(set(self._profiles.values()) - {("", "")}))
        self._metrics.changed.set(time.time())

    async def _send_all(self, program: Program) -> None:
        await self._runtime.replace(encode.program(program))
        self._profiles = {name: (one.ingress, one.egress) for name, one in program.pods.items()}
        log.info("policies_enforced", pods=len(program.pods), sets=len(program.sets))

    async def _send_change(self, change: Change) -> None:
        await self._runtime.change(encode.change(change))
        self._profiles |= {one.pod: (one.ingress, one.egress) for one in change.pods}
        for name in change.gone_pods:
            self._profiles.pop(name, None)
        log.debug("policies_changed", pods=len(change.pods), sets=len(change.sets) + len(change.members))

    async def _again(self, backoff: Backoff) -> None:
        self._metrics.enforced.set(0)
        await asyncio.sleep(backoff.delay())
        self._wake.set()

    async def _wait_for_addresses(self) -> None:
        """Wait a little for addresses that the operator is still writing; once for each selector."""
        self._without &= self._unknown()
        patience = _FIRST_PATIENCE if self._is_first else _PATIENCE
        try:
            async with asyncio.timeout(patience):
                while missing := self._unknown() - self._without:
                    if self._is_first:
                        self._say(
                            "Network policies are not enforced yet: the operator has not written "
                            f"the addresses behind {len(missing)} of their selectors."
                        )
                    await self._wake.wait()
                    self._wake.clear()
        except TimeoutError:
            self._without = self._unknown()
            log.warning("peers_not_known", selectors=sorted(self._without)[:10], waited=patience)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem:
                log.warning("policies_not_enforced", error=problem)
            self._reported()

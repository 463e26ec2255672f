"""The life of the process: probes, wait for the API, election, work, hand-over.

Losing the Lease ends the process at once and without clean-up: another leader may already work. A restart is
cheap, gives every node a fresh time-out and is the only way back.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal

from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_kube.access import Access
from quilt_kube.request import ApiError, UnreachableError, read
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.api.election import Election
from quilt_operator.leader import Leader, Options, first_to_end
from quilt_operator.probes import Probes

_RETRY_API = 2.0
# kopf leaves its tasks this long; the Lease is free by then.
_LAST_WORDS = 3.0


async def run(options: Options, access: Access) -> int:
    """Be an operator until asked to stop; answers the exit status."""
    # What was imported is never freed, and thousands of nodes refer to nothing in a cycle: a look for garbage
    # among them stops everything for a fifth of a second, again and again while nodes join.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    stop = asyncio.Event()
    _on_signals(stop)
    probes = Probes(options.health_addr)
    await probes.start()
    client = Client(access)
    election = Election(client, options.namespace, options.identity)
    try:
        await first_to_end(_stand_by(client, election, probes), stop.wait())
        if stop.is_set():
            return 0
        return await _lead(Leader(client, election, options), election, probes, stop)
    finally:
        await client.close()
        await probes.stop()


async def _stand_by(client: Client, election: Election, probes: Probes) -> None:
    await _wait_for_api(client)
    probes.checks = list
    await election.acquire()


async def _lead(leader: Leader, election: Election, probes: Probes, stop: asyncio.Event) -> int:
    probes.checks, probes.measure = leader.checks, leader.measure
    metrics.LEADER.set(1)
    keeping = asyncio.create_task(election.keep(_leave))
    working = asyncio.create_task(leader.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({keeping, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if keeping.done():
        _leave(f"the Lease is renewed no more: {keeping.exception()!r}")
    error = working.exception() if working.done() else None
    if error is not None:
        log.error("operator_failed", error=repr(error), exc_info=error)
    # Stop acting first, then hand over: the successor must not meet its writes.
    await leader.pause()
    keeping.cancel()
    await election.release()
    leader.end()
    stopping.cancel()
    await asyncio.wait({working}, timeout=_LAST_WORDS)
    log.info("operator_stopped")
    return 1 if error is not None else 0


async def _wait_for_api(client: Client) -> None:
    """Wait until the API server answers and serves our kinds."""
    logged = ""
    wanted = {QUILTNETWORK.plural, QUILTNODE.plural, QUILTSUBNET.plural}
    while True:
        try:
            answer = await client.ask(read(QUILTNODE.path().rpartition("/")[0]))
            missing = wanted - {str(item.get("name")) for item in answer.get("resources", [])}
            problem = f"not served: {', '.join(sorted(missing))}" if missing else ""
        except (ApiError, UnreachableError) as error:
            problem = str(error)
        if not problem:
            return
        if problem != logged:
            log.warning("waiting_for_api", problem=problem)
            logged = problem
        await asyncio.sleep(_RETRY_API)


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _leave(reason: str) -> None:
    log.error("leadership_lost", reason=reason)
    os._exit(1)

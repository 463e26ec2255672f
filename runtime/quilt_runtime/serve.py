"""One run of the runtime, from start to drain.

The node's network is brought up from the state before anything is served, so that CNI works at once after a
restart whether or not the agent or the cluster is there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from functools import partial

from quilt_health import HANDOVER, HealthServer
from quilt_log import log
from quilt_memory import give_back
from quilt_runtime.app import Runtime, Settings
from quilt_runtime.cni.server import CniServer
from quilt_runtime.drift import DriftRepair
from quilt_runtime.keeper import Keeper
from quilt_runtime.services.route_socket import RouteSocket
from quilt_runtime.services.server import GrpcServer
from quilt_runtime.services.sockets import joined, until_free

HEALTH_PERIOD_S = 0.5


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; raises RequestError or OSError where an address cannot be had."""
    settings.socket_dir.mkdir(parents=True, exist_ok=True)
    os.chmod(settings.socket_dir, 0o700)  # noqa: PTH101 - the protection of every socket in it
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Nothing of a predecessor's is taken over before its ports are: until then it may still serve.
    for host, port in filter(None, (*settings.grpc_addr, settings.health_addr)):
        await until_free(host, port, HANDOVER)
    runtime = Runtime.open(settings)
    try:
        await _serve(runtime, settings, stop)
    finally:
        if settings.cleanup_on_exit:
            _remove_routes(runtime)
        runtime.close()
        log.info("stopped")


def _remove_routes(runtime: Runtime) -> None:
    try:
        log.info("routes_removed_on_exit", count=runtime.routes.remove_all())
    except OSError as error:
        log.error("routes_not_removed", reason=str(error))


async def _serve(runtime: Runtime, settings: Settings, stop: asyncio.Event) -> None:
    grpc_server = GrpcServer(runtime, settings)
    cni_server = CniServer(runtime, settings.socket_dir)
    keeper = Keeper(settings.socket_dir)
    routes = RouteSocket(runtime, settings.socket_dir)
    health = HealthServer(
        # Healthy means that all that serves is there, else the kubelet restarts us.
        lambda: cni_server.wrong() + keeper.wrong() + routes.wrong(),
        partial(_not_ready, runtime),
        runtime.metrics.text,
    )
    cni_server.start()
    keeper.start()
    routes.start()
    try:
        await grpc_server.start()
        if settings.health_addr:
            address = joined(*settings.health_addr)
            await health.start(address, handover=0)
            log.info("status_serving", address=address)
        tasks = [
            asyncio.create_task(DriftRepair(runtime.network, runtime.metrics, runtime.troubles).run()),
            asyncio.create_task(_tell_health(runtime, grpc_server)),
            asyncio.create_task(give_back()),
        ]
        _settle()
        log.info("started", subnet=str(runtime.addresses.subnet or ""), allocated=len(runtime.addresses))
        await _until_stopped(stop, tasks)
    finally:
        await health.stop()
        await grpc_server.stop()
        await asyncio.to_thread(cni_server.stop)
        await asyncio.to_thread(keeper.stop)
        await asyncio.to_thread(routes.stop)


def _settle() -> None:
    """Take what was imported out of the garbage collector's rounds, and let thousands of routes pass in one.

    What a bulk call makes refers to nothing in a cycle; looking for cycles in it costs more than making it.
    But every call leaves five objects of gRPC's behind that do: some thousands of them are looked for.
    And a single route's thread does not wait 5 ms, Python's usual turn, for one that works on thousands.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(3_000, 20, 20)


async def _until_stopped(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the signal; a background task that ends before it ends the process, loudly."""
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
        log.info("stopping")
    finally:
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)


def _not_ready(runtime: Runtime) -> list[str]:
    """Return why no pod can start here; empty where the node has a subnet and its network is in place."""
    problems = list(runtime.network.problems.values())
    return problems if runtime.addresses.subnet else ["this node has no pod subnet yet", *problems]


async def _tell_health(runtime: Runtime, server: GrpcServer) -> None:
    """Keep the health service true: CNI is served while a pod can start here."""
    served: bool | None = None
    while True:
        able = not _not_ready(runtime)
        if able != served:
            await server.set_cni(able)
            served = able
        await asyncio.sleep(HEALTH_PERIOD_S)

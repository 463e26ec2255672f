"""A control plane with its two sockets, from their first moment to their last."""

from __future__ import annotations

import time

import structlog

from quilt_pim.handlers import Handlers
from quilt_pim.plane import ControlPlane
from quilt_pim.rpf_server import RpfServer
from quilt_pim.server import ControlServer
from quilt_pim.unix import UnixServer

log = structlog.get_logger()


async def serve(plane: ControlPlane) -> None:
    """Serve until cancelled; OSError when a socket cannot be had."""
    config, counters = plane.config, plane.counters
    gid, answer = config.control_gid, Handlers(plane).answer
    servers: list[UnixServer] = [ControlServer(config.control_sock, answer, plane.broadcast, counters, gid)]
    if config.rpf_sock:
        servers.append(RpfServer(config.rpf_sock, lambda source: plane.upstream(source), counters, gid))
    now = time.monotonic()
    for name in config.pim_interfaces:
        plane.pim.speakers.want(name, now)
    try:
        for server in servers:
            await server.start()
            log.info("control_serving", socket=str(server.path))
        plane.serving.set()
        await plane.run()
    finally:
        plane.serving.clear()
        plane.pim.speakers.close()
        for server in servers:
            await server.stop()

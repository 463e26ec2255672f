"""The gRPC server: the contract and our own services on a Unix socket, and on TCP if asked for.

Plain on loopback; with certificates every TCP address is mutual TLS, loopback too.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from quilt_log import log
from quilt_proto import node_pb2, policy_pb2, runtime_pb2
from quilt_runtime.app import Runtime, Settings
from quilt_runtime.core.errors import RequestError
from quilt_runtime.services import contract, ipam, node_config, policy, route_table
from quilt_runtime.services.answer import RECEIVED_AT_MOST, Call, Stream, generic_handler
from quilt_runtime.services.sockets import SocketFile, joined

SERVICES = tuple(
    service
    for module in (runtime_pb2, node_pb2, policy_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)
CALLS: Mapping[str, Mapping[str, Call | Stream]] = {
    "QuiltRuntime": contract.CALLS,
    "RouteTable": route_table.CALLS,
    "Ipam": ipam.CALLS,
    "NodeConfig": node_config.CALLS,
    "Policy": policy.CALLS,
}
NAMES = tuple(service.full_name for service in SERVICES)
STANDARD = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
CNI = "quilt.Cni"
"""In the health service alone: whether CNI ADD can succeed."""

SOCKET_UMASK = 0o117
WAITING_AT_MOST = 10_000
OPTIONS = (
    ("grpc.max_receive_message_length", RECEIVED_AT_MOST),
    ("grpc.max_send_message_length", 16 << 20),
    # Calls wait their turn. A caller learns of a limit only after its first calls, and gRPC refuses those
    # beyond it (of waiting ones at random, from the thousandth on) by an error that is not the contract's.
    ("grpc.max_concurrent_streams", WAITING_AT_MOST),
    ("grpc.server.max_pending_requests", WAITING_AT_MOST),
    ("grpc.server.max_pending_requests_hard_limit", WAITING_AT_MOST),
    ("grpc.so_reuseport", 0),
    # No pings that measure the line: it is a socket of this host, and each would wake the other side.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
)
DRAIN_S = 5.0


class GrpcServer:
    """Starts, tells its health, drains."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = HealthServicer()
        self._feed = runtime.network.feed
        self._file = SocketFile(settings.socket_dir / "runtime.sock")
        self._register(runtime)
        with self._file.binding(SOCKET_UMASK) as path:
            self._server.add_insecure_port(f"unix:{path}")
        credentials: grpc.ServerCredentials | None = None
        if settings.tls:
            from quilt_runtime.services.tls import Certificates  # its libraries are 4 MB, for a flag few set

            credentials = Certificates(*settings.tls).credentials()
        for host, port in settings.grpc_addr:
            self._listen(joined(host, port), credentials)

    async def start(self) -> None:
        """Serve; raises RequestError where an address cannot be had."""
        await self._server.start()
        for name in ("", *NAMES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("grpc_serving", socket=str(self._file.path))

    async def set_cni(self, able: bool) -> None:
        """Tell whether CNI ADD can succeed."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(CNI, status.SERVING if able else status.NOT_SERVING)

    async def stop(self) -> None:
        """Refuse new calls, let running ones end."""
        await self._health.enter_graceful_shutdown()
        self._file.remove()
        self._feed.close()
        await self._server.stop(DRAIN_S)

    def _register(self, runtime: Runtime) -> None:
        server = self._server
        server.add_generic_rpc_handlers(
            [generic_handler(service, CALLS[service.name], runtime) for service in SERVICES]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection = ReflectionServicer((*NAMES, *STANDARD))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection, server)

    def _listen(self, address: str, credentials: grpc.ServerCredentials | None) -> None:
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise RequestError(
                f"Cannot listen on {address}: another program has it; choose another port"
            ) from error
        log.info("grpc_listening", address=address, mutual_tls=credentials is not None)

"""Calls of the runtime: typed in, typed out, every failure of gRPC turned into RuntimeUnavailable here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from msgspec import Struct
from msgspec.structs import asdict, replace

from quilt_nodeagent.core.overlay import Hop
from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc
from quilt_proto.node_pb2 import ApplyRoutesRequest, ApplyRoutesResponse, RouteResult

T = TypeVar("T")
# Milliseconds: a restarted runtime is found again at once; nobody else uses this socket.
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Not a pause but the time for one attempt: on a busy node the runtime's first answer needs a while.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
    # No pings that measure the line: it is a socket of this host, and each would wake the other side.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", 64 << 20),
]
# Routes in one call: some hundred kilobytes, programmed in some milliseconds.
CHUNK = 10_000
# So few are done in a moment, and go by the packet socket.
FEW = 8
# Bytes: many times an answer to these.
_LONGEST = 64 << 10
# Seconds; only a runtime that hangs needs so long, and the heartbeat does not wait for it.
_BULK_TIMEOUT = 30.0


class ExecutorError(Exception):
    """Base of all; `retryable` tells whether the same request may succeed later."""

    retryable = True


class BridgeNotReady(ExecutorError):  # noqa: N818  the contract's name
    """The interface cannot be known yet: it does not exist, or no bridge knows the MAC."""


class RuntimeUnavailable(ExecutorError):  # noqa: N818  the contract's name
    """The runtime could not be reached, or did not answer in time."""


class RouteFailed(ExecutorError):  # noqa: N818  the contract's name
    """The runtime refused, with its own words."""

    retryable = False


class NodeSettings(Struct, frozen=True):
    """What the runtime needs of the mesh: the fields of ConfigureRequest in node.proto.

    `node_prefix_length` is the one that a node's IPv4 subnet has, 0: as before; `vni` likewise. `subnet_v6`
    is the node's, empty without one: the contract's own call knows IPv4 alone.
    """

    cluster_cidrs: tuple[str, ...]
    mtu: int
    vxlan_interface: str
    vxlan_port: int
    overlay_sources: frozenset[str]
    node_prefix_length: int = 0
    subnet_v6: str = ""
    multicast: bool = False
    multicast_fast_leave: bool = True
    spoof_guard: bool = True
    vni: int = 0
    policies: bool = False
    log_denied: bool = False

    def but_sources(self, other: NodeSettings) -> bool:
        """Whether the two differ in nothing but the overlay's sources."""
        return replace(self, overlay_sources=other.overlay_sources) == other


class RuntimeClient:
    """One runtime. Every method raises RuntimeUnavailable; those that ask for a change also RouteFailed."""

    def __init__(self, address: str, *, timeout: float = 10.0) -> None:
        self.address = address
        self._timeout = timeout
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._contract = runtime_pb2_grpc.QuiltRuntimeStub(self.channel)
        self._packets = RouteSocket(socket_beside(address, "routes.sock"))
        self._routes = node_pb2_grpc.RouteTableStub(self.channel)
        self._node = node_pb2_grpc.NodeConfigStub(self.channel)

    async def close(self) -> None:
        """Close the connection, calls under way included."""
        self._packets.close()
        await self.channel.close(grace=None)

    async def status(self) -> node_pb2.GetStatusResponse:
        """Ask how the runtime is: its subnets are empty until it has them."""
        return await self._call(self._node.GetStatus(node_pb2.GetStatusRequest(), timeout=self._timeout))

    async def configure(self, settings: NodeSettings) -> None:
        """Apply the whole node configuration."""
        fields = asdict(settings) | {"overlay_sources": sorted(settings.overlay_sources)}
        await self._do(self._node.Configure, node_pb2.ConfigureRequest(**fields))

    async def change_overlay_sources(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Change the overlay's sources alone, where thousands of others stay."""
        request = node_pb2.ChangeOverlaySourcesRequest(add=sorted(add), remove=sorted(remove))
        await self._do(self._node.ChangeOverlaySources, request)

    async def configure_subnet(self, subnet: str) -> None:
        """Give the node its pod subnet, e.g. `10.42.1.0/24`."""
        request = runtime_pb2.ConfigureNodeSubnetRequest(subnet=subnet)
        await self._do(self._contract.ConfigureNodeSubnet, request)

    async def inject_route(self, destination: str, interface: str) -> None:
        """Make one route over an interface by the contract's call, outside of the mesh's own."""
        request = runtime_pb2.InjectRouteRequest(destination=destination, via_interface=interface)
        await self._do(self._contract.InjectRoute, request)

    async def remove_route(self, destination: str) -> None:
        """Remove one route by the contract's call; an absent one is fine."""
        await self._do(self._contract.RemoveRoute, runtime_pb2.RemoveRouteRequest(destination=destination))

    async def apply_routes(self, add: Sequence[tuple[str, Hop]], remove: Sequence[str]) -> list[RouteResult]:
        """Make and remove routes in as few calls as can be; return what was refused."""
        refused: list[RouteResult] = []
        total = len(add) + len(remove)
        for start in range(0, total, CHUNK):
            request = ApplyRoutesRequest(
                groups=_groups(add[start : start + CHUNK]),
                remove=remove[max(0, start - len(add)) : max(0, start + CHUNK - len(add))],
                failures_only=total > FEW,
            )
            refused += _refusals(await self._call(self._apply(request, few=total <= FEW)))
        return refused

    async def _apply(self, request: ApplyRoutesRequest, *, few: bool) -> ApplyRoutesResponse:
        answer = await self._packets.ask(request, self._timeout) if few else None
        if answer is not None:
            return answer
        return await self._routes.ApplyRoutes(request, timeout=self._timeout if few else _BULK_TIMEOUT)

    async def refuse(self, destinations: Sequence[str], no_longer: Sequence[str]) -> list[RouteResult]:
        """Have the kernel refuse to send where no route leads, and stop that; return what was not done.

        An earlier runtime does not know the fields and answers nothing: it keeps these routes by itself.
        """
        request = ApplyRoutesRequest(
            unreachable=destinations, no_longer_unreachable=no_longer, failures_only=True
        )
        return _refusals(await self._call(self._routes.ApplyRoutes(request, timeout=self._timeout)))

    async def _do(self, method: Callable[..., Awaitable[Any]], request: object) -> None:
        """Ask for a change: all answers say `success`, and else the `error`."""
        answer = await self._call(method(request, timeout=self._timeout))
        if not answer.success:
            raise RouteFailed(answer.error)

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            # gRPC tells its whole story; what a person needs is how it ends.
            reason = (error.details() or error.code().name).rsplit("error: ", 1)[-1].rstrip(".")
            text = f"The runtime at {self.address} does not answer: {reason}."
            raise RuntimeUnavailable(text) from error
        except grpc.aio.UsageError as error:
            raise RuntimeUnavailable(f"The connection to the runtime at {self.address} is closed.") from error
        except TimeoutError as error:
            reason = f"no answer within {self._timeout:g} s"
            raise RuntimeUnavailable(f"The runtime at {self.address} does not answer: {reason}.") from error


class RouteSocket:
    """The runtime's packet socket for a few routes, one request at a time; connected when it is needed.

    A call needs several times as long to get to the runtime (decision 33).
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: ApplyRoutesRequest, seconds: float) -> ApplyRoutesResponse | None:
        """Return the answer, which must not be empty; None where nobody serves, so that a call tells why.

        Raises TimeoutError after so many seconds.
        """
        if self._path is None:
            return None
        async with asyncio.timeout(seconds), self._turn:
            try:
                return await self._exchange(request.SerializeToString(), str(self._path))
            except (OSError, DecodeError):
                self.close()
                return None
            except BaseException:  # an answer that comes later must be nobody's
                self.close()
                raise

    async def _exchange(self, request: bytes, path: str) -> ApplyRoutesResponse:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            self._socket.connect(path)
        self._socket.send(request)
        answer = await asyncio.get_running_loop().sock_recv(self._socket, _LONGEST)
        if not answer:
            raise ConnectionResetError
        return ApplyRoutesResponse.FromString(answer)

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def socket_beside(runtime_addr: str, name: str) -> Path | None:
    """Return the path of another socket beside a gRPC address; None where that is no Unix socket."""
    scheme, _, path = runtime_addr.partition("unix:")
    return Path(path.removeprefix("//")).with_name(name) if not scheme and path else None


def _refusals(answer: ApplyRoutesResponse) -> list[RouteResult]:
    return [result for result in answer.results if not result.success]


def _groups(routes: Sequence[tuple[str, Hop]]) -> list[node_pb2.RouteGroup]:
    """Sort routes by device, and those without a gateway apart."""
    sorted_: dict[tuple[str, bool], list[tuple[str, Hop]]] = {}
    for route in routes:
        hop = route[1]
        sorted_.setdefault((hop.device, bool(hop.gateway)), []).append(route)
    return [
        node_pb2.RouteGroup(
            interface=device,
            destinations=[prefix for prefix, _ in group],
            gateways=[hop.gateway for _, hop in group] if over_gateways else [],
        )
        for (device, over_gateways), group in sorted_.items()
    ]

"""The runtime's parts put together; what the gRPC services and the CNI verbs both work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_netlink import Kernel, NetlinkError
from quilt_runtime.addresses import Addresses
from quilt_runtime.core import firewall, guard, policy
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.nftables import removal
from quilt_runtime.kernel import bridge, forward, nft
from quilt_runtime.kernel.counters import KernelMetrics
from quilt_runtime.kernel.policytable import PolicyTable
from quilt_runtime.kernel.routes import RouteExecutor
from quilt_runtime.metrics import Metrics
from quilt_runtime.network import NodeNetwork
from quilt_runtime.state import StateError, Store
from quilt_runtime.troubles import Troubles


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line. `grpc_addr` are extra (host, port) addresses; without `tls` they are on loopback.

    `tls` are PEM files: our certificate (with its chain) and key, and the authority of clients' certificates.
    """

    socket_dir: Path
    state_dir: Path
    proc_sys_net: Path
    cluster_cidr: tuple[str, ...]
    grpc_addr: tuple[tuple[str, int], ...]
    health_addr: tuple[str, int] | None
    tls: tuple[Path, Path, Path] | None
    cleanup_on_exit: bool
    masquerade: bool


@dataclass(frozen=True, slots=True)
class Runtime:
    """One node's runtime."""

    store: Store
    addresses: Addresses
    network: NodeNetwork
    routes: RouteExecutor
    metrics: Metrics
    troubles: Troubles = field(default_factory=Troubles)

    @classmethod
    def open(cls, settings: Settings) -> Runtime:
        """Open the state and take up from it, or from the kernel where the state was lost."""
        store = Store(settings.state_dir)
        metrics = Metrics()
        addresses = Addresses(store)
        default = NodeConfig(cluster_cidrs=settings.cluster_cidr, masquerade=settings.masquerade)
        network = NodeNetwork(store, addresses, settings.proc_sys_net, default)
        if addresses.subnet is None:
            network.recover()
        metrics.capacity.set_function(lambda: addresses.capacity)
        metrics.allocated.set_function(lambda: len(addresses))
        metrics.refusals.set_function(lambda: len(network.refusals))
        kernel = KernelMetrics(lambda: network.config.vxlan_interface, settings.proc_sys_net)
        metrics.registry.register(kernel)
        runtime = cls(store, addresses, network, RouteExecutor(), metrics)
        try:
            network.free_dead()
            network.learn_names()
            network.ensure()
        except (RequestError, NetlinkError, StateError) as error:
            # Kept among the network's problems, and tried again.
            log.error("start_incomplete", reason=str(error))
        return runtime

    def close(self) -> None:
        """Leave the node to a successor; close the state and the kernel's sockets."""
        self.network.guard.leave()
        self.routes.close()
        self.store.close()


def cleanup(settings: Settings) -> list[str]:
    """Remove everything of the mesh from the node and return what was removed, in words; safe to repeat.

    Raises the first error after everything was tried.
    """
    removed: list[str] = []
    errors: list[Exception] = []
    for part in (_remove_routes, _remove_links, _remove_rules, lambda: _remove_files(settings)):
        try:
            removed += part()
        except (RequestError, OSError) as error:
            log.error("cleanup_incomplete", reason=str(error))
            errors.append(error)
    if errors:
        raise errors[0]
    return removed


def _remove_routes() -> list[str]:
    routes = RouteExecutor().remove_all()
    return [f"{routes} routes"] if routes else []


def _remove_links() -> list[str]:
    with Kernel.open() as kernel:
        links = bridge.remove_links(kernel)
    return [f"{links} interfaces ({BRIDGE_DEVICE} and pods' veths)"] if links else []


def _remove_rules() -> list[str]:
    removed = []
    for family in (guard.FAMILY, firewall.FAMILY):
        if nft.listing(family):
            nft.apply(removal(family))
            removed.append(f"nftables table {family} quilt")
    if PolicyTable().remove():
        removed.append(f"nftables table {policy.FAMILY} {policy.TABLE}")
    if forward.remove():
        removed.append("accept rules in FORWARD of iptables-nft")
    return removed


def _remove_files(settings: Settings) -> list[str]:
    state, sockets = settings.state_dir, settings.socket_dir
    files = [*state.glob("state.db*"), *sockets.glob("*.sock"), *sockets.glob(".*.sock.*")]
    for path in files:
        path.unlink(missing_ok=True)
    return [f"{len(files)} files of state and sockets"] if files else []

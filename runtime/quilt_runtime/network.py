"""The node's own part of the pod network, kept as configured: bridge, ports, sysctls, nftables.

Each part reads, compares and writes only what differs; called when nothing is wrong it changes nothing,
so a start, a repeated Configure or a false alarm never disturbs traffic.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_netlink import Kernel, MulticastKernel
from quilt_runtime.addresses import RECOVERED, Addresses
from quilt_runtime.core import firewall
from quilt_runtime.core.cni import pod_of_alias
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.core.ipam import Allocation, Network, veth_address
from quilt_runtime.core.policy import Ground
from quilt_runtime.denials import Denials
from quilt_runtime.guard import BridgeGuard
from quilt_runtime.kernel import bridge, forward, nft, snooping, sysctls
from quilt_runtime.kernel.table import FirewallTable
from quilt_runtime.podfeed import PodFeed
from quilt_runtime.policies import Policies
from quilt_runtime.state import Store

AREAS = ("sysctls", "guard", "links", "nftables", "policies", "forward")
"""What can be wrong, in the order in which it is put right."""


class NodeNetwork:
    """Owns everything that this node's pods share. Safe to use from any thread."""

    def __init__(self, store: Store, addresses: Addresses, proc_sys_net: Path, default: NodeConfig) -> None:
        self._store = store
        self._addresses = addresses
        self._proc_sys_net = proc_sys_net
        self._lock = threading.RLock()
        held = store.meta("config")
        later = store.meta("config_later")
        document = {**held, **(later if isinstance(later, dict) else {})} if isinstance(held, dict) else None
        taken_up = NodeConfig.from_document(document) if document else default
        # A flag alone says it: no agent does.
        self.config = replace(taken_up, masquerade=default.masquerade)
        # Before, the cluster's CIDRs are only a guess.
        self._configured = bool(held)
        self._table = FirewallTable()
        self.guard = BridgeGuard(addresses, lambda: self.config.spoof_guard)
        self.feed = PodFeed(addresses.held)
        self.policies = Policies(addresses, self.feed, lambda: self.config.policies, self._ground)
        self._denials = Denials(addresses)
        self._busy: set[str] = set()
        self.problems: dict[str, str] = {}
        self.refusals: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What this node lacks, and what others refuse of its pods' packets, as sentences."""
        return [*self.guard.warnings, *self.refusals]

    def look_at_firewalls(self) -> None:
        """Look whether a firewall of others refuses what pods send or get; nothing is done about it."""
        try:
            found = tuple(forward.refusals((BRIDGE_DEVICE, self.config.vxlan_interface)))
        except (RequestError, OSError, ValueError):
            return  # Where nft fails, the areas say so.
        if found and found != self.refusals:
            log.warning("forward_refused", chains=found)
        elif self.refusals and not found:
            log.info("forward_no_longer_refused")
        self.refusals = found

    def configure(self, config: NodeConfig) -> None:
        """Make `config` the node's, in the kernel too; raises RequestError, StateError."""
        with self._lock:
            held, first = self.config, not self._configured
            if config != held or first:
                self._store.put_meta(**config.documents())
                self.config, self._configured = config, True
                log.info("node_configured", mtu=config.mtu, sources=len(config.overlay_sources))
            if not first and config.but_sources(held) and not self.problems and self._table.intact:
                # A peer more or less: all else is in place, and what others break is repaired at once.
                self.ensure(["nftables"])
            else:
                self.ensure()

    def change_sources(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Take the overlay's packets from more hosts and from others no longer; as configure."""
        with self._lock:
            self.configure(self.config.with_sources(add, remove))

    def configure_subnet(self, subnet: Network) -> None:
        """Make `subnet` the node's of its family, in the kernel too; raises RequestError, StateError."""
        with self._lock:
            if self._addresses.set_subnet(subnet):
                event = "subnet_configured" if subnet.version == 4 else "subnet6_configured"
                log.info(event, subnet=str(subnet))
            self.ensure()

    def is_configured_as(self, subnet: str) -> bool:
        """Whether this is the node's subnet and nothing is wrong: what others break is repaired at once."""
        return self._table.intact and not self.problems and str(self._addresses.subnet) == subnet

    def ensure(self, areas: Iterable[str] = AREAS) -> None:
        """Bring areas to what they should be; raises the first error after everything was tried."""
        _, errors = self._bring(areas)
        if errors:
            raise errors[0]

    def repair(self, areas: Collection[str], names: Collection[str] | None) -> list[str]:
        """Look at areas and put right what others changed; returns what was repaired, by kind.

        Of the interfaces only `names` are looked at (None: all): an event costs what it touches. What fails
        is among the problems.
        """
        done, _ = self._bring([area for area in AREAS if area in areas], names, read=True)
        return done

    def owns_any(self, names: Collection[str]) -> bool:
        """Whether one of these is a pod's interface that should be attached now."""
        return any(self._is_port(name) for name in names)

    @contextmanager
    def working_on(self, host_interface: str) -> Iterator[None]:
        """While a pod's interface is being made or removed it is not drift that it looks unfinished."""
        self._busy.add(host_interface)
        try:
            yield
        finally:
            self._busy.discard(host_interface)
        if self.config.multicast:
            snooping.ensure_port(host_interface, self.config)

    def _bring(
        self, areas: Iterable[str], names: Collection[str] | None = None, *, read: bool = False
    ) -> tuple[list[str], list[RequestError]]:
        """Do what each area needs, and remember its failure as a problem of the node until it succeeds."""
        done: list[str] = []
        errors: list[RequestError] = []
        for area in areas:
            with self._lock:
                try:
                    done += self._write(area, names, read=read)
                except (RequestError, OSError) as error:
                    errors.append(self._failed(area, error))
                    continue
                if self.problems.pop(area, None):
                    log.info("node_network_recovered", area=area)
        return done, errors

    def _failed(self, area: str, error: RequestError | OSError) -> RequestError:
        """The kernel refused, the state cannot be written, or no descriptor is left for either."""
        text = str(error)
        if self.problems.get(area) != text:
            log.error("node_network_failed", area=area, reason=text)
        self.problems[area] = text
        return error if isinstance(error, RequestError) else RequestError(f"{area}: {text}", retryable=True)

    def _write(self, area: str, names: Collection[str] | None, *, read: bool) -> list[str]:
        """Write what differs in an area, with `read` also what others changed; returns what that was."""
        match area:
            case "sysctls":
                return self._ensure_sysctls()
            case "guard":
                return self.guard.ensure(read=read)
            case "links":
                return self._ensure_links(names)
            case "nftables":
                wanted = Firewall(self.config, self._addresses.subnet, self._addresses.subnet6)
                return self._table.write(wanted, read=read)
            case "policies":
                self._denials.follow(self.config.policies and self.config.log_denied)
                return self.policies.ensure(read=read)
            case _:
                return forward.ensure() if self._addresses.subnet else []

    def _ground(self) -> Ground | None:
        """Return what rules of policies depend on, None without a subnet."""
        subnet, subnet6 = self._addresses.subnet, self._addresses.subnet6
        if subnet is None:
            return None
        cidrs, cidrs6 = tuple(self.config.cluster_cidrs_v4), tuple(self.config.cluster_cidrs_v6)
        ground = Ground(subnet.prefixlen, cidrs or (subnet,), logs_denied=self.config.log_denied)
        if subnet6 is None:
            return ground
        return replace(ground, cidrs6=cidrs6 or (subnet6,), prefix_length6=subnet6.prefixlen)

    def _ensure_links(self, names: Collection[str] | None) -> list[str]:
        subnet = self._addresses.subnet
        if subnet is None:
            return []
        with MulticastKernel.open() as kernel:
            repaired = bridge.ensure_bridge(kernel, subnet, self.config.mtu)
            if "bridge" in repaired:
                sysctls.ensure_device(self._proc_sys_net, BRIDGE_DEVICE, sysctls.BRIDGE)
            if not self.config.lacks_ipv6:
                repaired += self._ensure_addresses6(kernel, subnet)
            everything = names is None
            if names is None or "bridge" in repaired:
                names = {allocation.host_interface for allocation in self._addresses.held()}
            ports = [name for name in names if self._is_port(name)]
            if not self.guard.knows(ports):
                self.guard.ensure()
            joined = ["port"] * bridge.ensure_ports(kernel, ports)
            repaired += snooping.ensure(kernel, ports, self.config)
            self._free_vanished(kernel, also_owned=everything)
        if self._addresses.subnet6 is not None and self.config.lacks_ipv6:
            raise RequestError(self.config.lacks_ipv6)
        return repaired + joined

    def _ensure_addresses6(self, kernel: Kernel, subnet: IPv4Network) -> list[str]:
        subnet6 = self._addresses.subnet6
        if subnet6 is None:
            return []
        if subnet6.num_addresses < subnet.num_addresses:
            raise RequestError(f"IPv6 subnet {subnet6} has fewer addresses than {subnet}: pods have both")
        # Before the addresses: an interface without IPv6 accepts none.
        changed = sysctls.ensure(self._proc_sys_net, sysctls.BRIDGE6)
        return changed + bridge.ensure_addresses(kernel, subnet6)

    def _is_port(self, name: str) -> bool:
        address = veth_address(name)
        return address is not None and name not in self._busy and self._addresses.holder(address) is not None

    def _ensure_sysctls(self) -> list[str]:
        changed = sysctls.ensure(self._proc_sys_net, sysctls.HOST)
        if self._addresses.subnet6 is not None:
            changed += sysctls.ensure_forwarding6(self._proc_sys_net)
        changed += sysctls.ensure_device(self._proc_sys_net, BRIDGE_DEVICE, sysctls.BRIDGE)
        overlay = self.config.vxlan_interface
        return changed + sysctls.ensure_device(self._proc_sys_net, overlay, sysctls.OVERLAY)

    def free_dead(self) -> None:
        """Free the addresses of containers whose interface went while no runtime ran."""
        with Kernel.open() as kernel:
            self._free_vanished(kernel, also_owned=True)

    def _free_vanished(self, kernel: Kernel, *, also_owned: bool = False) -> None:
        def exists(held: Allocation) -> bool:
            return kernel.link(held.host_interface) is not None

        for freed in self._addresses.forget_vanished(exists, also_owned=also_owned):
            self.guard.dismiss(freed.host_interface)
            self.policies.dismiss(freed)
            self.feed.disconnected(freed)
            log.info("address_freed", address=str(freed.address), reason="its interface is gone")

    def learn_names(self) -> None:
        """Name pods that an older release recorded or a lost database knew, by their interfaces' aliases."""
        with MulticastKernel.open() as kernel:
            for held in self._addresses.held():
                if held.pod is None and (held.network or held.owner.container_id == RECOVERED):
                    pod = pod_of_alias(kernel.alias(held.host_interface) or "")
                    if pod is not None:
                        self._addresses.name(held.owner, pod)

    def recover(self) -> None:
        """Take from the kernel what a lost database knew: the subnet from the bridge, addresses from the
        veths.
        """
        with Kernel.open() as kernel:
            link = kernel.link(BRIDGE_DEVICE)
            held = [] if link is None else kernel.addresses(link.index)
            veths = [veth_address(port.name) for port in kernel.links() if port.kind == "veth"]
        if self._store.meta("config") is None:
            self._recover_config()
        subnets = [subnet for entry in held if (subnet := bridge.subnet_of(entry.address))]
        subnet = next((each for each in subnets if isinstance(each, IPv4Network)), None)
        if subnet is None:
            return
        self._addresses.set_subnet(subnet)
        for subnet6 in (each for each in subnets if each.version == 6):
            self._addresses.set_subnet(subnet6)
        found = self._addresses.recover(address for address in veths if address and address in subnet)
        log.warning("state_recovered_from_kernel", subnet=str(subnet), addresses=len(found))

    def _recover_config(self) -> None:
        """Take peers' packets, and enforce policies where a predecessor did, until the agent says what holds.

        Else packets would be lost meanwhile, and pods be open.
        """
        try:
            _, sources = firewall.without_sources(nft.listing())
            policies = self.policies.are_enforced()
            self.config = replace(self.config.with_sources(sources, ()), policies=policies)
        except RequestError as error:  # no nft, or a table that somebody else wrote to
            log.info("config_not_recovered", reason=str(error))

"""What the agent knows of the world besides its peers, and what follows from it for this node.

Sources put facts in; the reconciler, the runtime and the status ask for conclusions. Nothing here waits.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from os import cpu_count, sysconf
from typing import Any

from quilt_crds.names import vtep_mac
from quilt_crds.underlay import could_mean
from quilt_crds.wire import Node, QuiltNode
from quilt_log import log
from quilt_netlink import Address, KernelLike, Link, Route
from quilt_nodeagent.core.device import NotYetError, Target
from quilt_nodeagent.core.network import Network
from quilt_nodeagent.core.peer import Own, Peer, Reach, choose_own
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.underlay import Direct, Wishes
from quilt_nodeagent.executor.client import NodeSettings
from quilt_nodeagent.kernel.underlay import Underlay, find_direct, find_underlay, is_host_route, on_host


class View:
    """Facts about network, node and underlay; all None until known."""

    def __init__(
        self, kernel: KernelLike, table: PeerTable, node_name: str, network: str, host_ip: str
    ) -> None:
        self._kernel = kernel
        self._table = table
        self._node_name = node_name
        self._network_name = network
        self._flag = host_ip
        self._mac = vtep_mac(network, node_name)
        self.network: Network | None = None
        self.node: Node | None = None
        self.spec_host_ip: str | None = None
        self._reported = ""
        self.underlay: Underlay | None = None
        self.unmet = ""
        """Why the network's choice of an underlay is not followed, as sentences."""
        self.direct: Direct | None = None
        self.network_problem = ""
        self.served: tuple[str, ...] | None = None
        """Subnets that the runtime holds: by its own word, before that by what was last reported of it."""
        self.listed: tuple[str, ...] = ()
        """This node's subnets as the operator lists them."""

    def learn_quiltnode(self, item: QuiltNode) -> None:
        """Take in this node's QuiltNode; what its status says is served counts until the runtime says so."""
        self.spec_host_ip, self.listed = item.spec.host_ip, item.status.subnets
        self._reported = item.status.host_ip
        if self.served is None:
            self.served = item.status.served_subnets

    def learn_served(self, served: tuple[str, ...]) -> bool:
        """Take in what the runtime says that it serves; return whether that is news."""
        changed, self.served = served != self.served, served
        return changed

    def _own(self, *, v6: bool = False) -> Own:
        claims = [claim for claim in self._table.own if (":" in claim.cidr) is v6]
        return choose_own(claims, self.served or (), self.listed)

    @property
    def claim(self) -> Peer | None:
        """This node's own IPv4 subnet, which the runtime serves."""
        return self._own().use

    @property
    def claim_v6(self) -> Peer | None:
        """This node's own IPv6 subnet; None where the network has none, or the node not yet."""
        return self._own(v6=True).use

    @property
    def move_to(self) -> tuple[str, str]:
        """The IPv4 and the IPv6 subnet that the operator granted in place of those; empty without."""
        granted = (self._own(v6=v6).move_to for v6 in (False, True))
        to, to_v6 = (claim.cidr if claim else "" for claim in granted)
        return to, to_v6

    @property
    def lacks_v6(self) -> bool:
        """Whether the network has both families and this node only one: its pods shall have both."""
        return self.network is not None and self.network.dual_stack and self.claim_v6 is None

    def look_at_underlay(self) -> bool:
        """Choose the host address again, once Node and network are known; return whether anything changed."""
        if self._waits:
            return False
        chosen, unmet = find_underlay(self._kernel, self._wishes, self._table.host_ips)
        found = self._unless_gone(chosen)
        direct = find_direct(self._kernel, found) if found and self.routes_directly else None
        if (found, direct, unmet) == (self.underlay, self.direct, self.unmet):
            return False
        if unmet and unmet != self.unmet:
            log.warning("underlay_choice_unmet", problem=unmet)
        if found and found != self.underlay:
            log.info(
                "host_ip_chosen", address=found.host_ip.address, because=found.host_ip.reason, mtu=found.mtu
            )
        if direct and direct != self.direct:
            on_link = sorted(prefix for prefix, here in direct.here.items() if here)
            log.info("direct_routing", device=direct.device, on_link=on_link)
        self.underlay, self.direct, self.unmet = found, direct, unmet
        return True

    @property
    def _waits(self) -> bool:
        """Whether something is unknown yet that decides about the host address."""
        unknown = self.node is None or self.spec_host_ip is None or self.network is None
        return unknown and not self._flag

    @property
    def _wishes(self) -> Wishes:
        network = self.network or Network()
        return Wishes(
            flag=self._flag,
            spec=self.spec_host_ip or "",
            choice=network.underlay,
            internal_ips=self.node.internal_ips if self.node else (),
            held=self.underlay.host_ip.address if self.underlay else self._reported,
            mesh=network.cidrs,
        )

    def _unless_gone(self, found: Underlay | None) -> Underlay | None:
        """Stay with address and MTU of before while no interface has one: a lost NIC may come back."""
        before = self.underlay
        if before is None or (found and found.ifindex):
            return found
        if found is None:
            return replace(before, host_ip=replace(before.host_ip, local=False), ifindex=0, name="")
        return replace(found, mtu=before.mtu) if found.host_ip.address == before.host_ip.address else found

    @property
    def reach(self) -> Reach:
        """What the overlay can carry, as far as network and underlay are known."""
        if self.network is None or self.underlay is None:
            return Reach()
        return self.network.reach(self.underlay.mtu, self.underlay.host_ip.address)

    @property
    def routes_directly(self) -> bool:
        """Whether the network asks for routes without encapsulation where peers share a link."""
        return self.network is not None and self.network.vxlan.direct_routing

    def concerns_underlay(self, entry: Link | Address | Route) -> bool:
        """Whether a change can concern the host address, the MTU, or which peers are on the same link."""
        if isinstance(entry, Route):
            return self.routes_directly and is_host_route(entry)
        if isinstance(entry, Link):
            return bool(self.unmet) or (self.underlay is not None and entry.index == self.underlay.ifindex)
        # Unless the host address is on an interface, and what an administrator or the Node says.
        if self.underlay is None or not self.underlay.host_ip.local or self._fallen_back():
            return True
        address = entry.address.partition("/")[0]
        return (
            address == self.underlay.host_ip.address
            or (self.node is not None and address in self.node.internal_ips)
            or self._could_be_chosen(entry)
        )

    def _could_be_chosen(self, entry: Address) -> bool:
        """Whether the network's choice may mean an address that appears or disappears."""
        wishes = self._wishes
        return wishes.by_network and any(
            could_mean(wishes.choice, item) for item in on_host(self._kernel, [entry])
        )

    def target(self) -> Target:
        """Return the wanted device; NotYetError says what is missing."""
        network, underlay = self.network, self.underlay
        if network is None:
            raise NotYetError(self.network_problem or f"Waiting for the QuiltNetwork {self._network_name!r}.")
        if underlay is None and self._waits:
            raise NotYetError(f"Waiting for the Node {self._node_name!r}, which tells the host address.")
        if underlay is None:
            raise NotYetError(
                self.unmet
                or "No host address: the Node has no InternalIP on an interface of this host and there is no "
                "default route; pass --host-ip or set spec.hostIP of the QuiltNode."
            )
        local = underlay.host_ip.address
        mtu = network.device_mtu(underlay.mtu, local)
        device = network.overlay.device(network.vxlan.device, local, self._mac, mtu)
        own = self._table.own
        usable = [claim.vtep for claim in own if self.reach.subnet(claim.cidr)]
        addresses = frozenset(f"{vtep}/{128 if ':' in vtep else 32}" for vtep in usable)
        # Without a claim the addresses stay: pods of the lost subnet may still have traffic.
        return Target(device, addresses if own else None)

    def settings(self) -> NodeSettings | None:
        """Return what the runtime needs to know, or None before the first complete list."""
        if self.network is None or self.underlay is None or not self._table.complete:
            return None
        first, second = self.claim, self.claim_v6
        own_length = int(first.cidr.partition("/")[2]) if first else 0  # 0: nobody knows it yet
        return NodeSettings(
            cluster_cidrs=self.network.cidrs,
            mtu=self.network.device_mtu(self.underlay.mtu, self.underlay.host_ip.address),
            vxlan_interface=self.network.vxlan.device,
            vxlan_port=self.network.vxlan.port,
            overlay_sources=self._table.host_ips(),
            node_prefix_length=self.network.prefix_length or own_length,
            subnet_v6=second.cidr if second else "",
            multicast=self.network.multicast.enabled,
            multicast_fast_leave=self.network.multicast.fast_leave,
            spoof_guard=self.network.spoof_guard,
            vni=self.network.vxlan.vni,
            policies=self.network.policy.enabled,
            log_denied=self.network.policy.log_denied,
        )

    def status_facts(self, version: str) -> dict[str, Any]:
        """Return the agent's fields of a QuiltNodeStatus besides conditions; memory in 10^6 bytes."""
        return {
            "host_ip": self.underlay.host_ip.address if self.underlay else "",
            "hostname": socket.gethostname()[:253],
            "cpu_cores": cpu_count() or 1,
            "memory_mb": sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE") // 1_000_000,
            "version": version[:64],
            "served_subnets": self.served or (),
        }

    def host_ip_text(self) -> str:
        """Return the choice of the host address as a sentence."""
        if self.underlay is None:
            return ""
        chosen = self.underlay.host_ip
        return f"Host IP {chosen.address}: {chosen.reason}."

    def problems(self) -> list[str]:
        """Return what is wrong with the node's place in the underlay, as sentences."""
        if self.underlay is None:
            return []
        chosen, problems = self.underlay.host_ip, [self.unmet] if self.unmet else []
        host_ip = f"Host IP {chosen.address} ({chosen.reason})"
        if not chosen.local:
            problems.append(f"{host_ip} is on no interface of this host; peers cannot reach it.")
        if self._table.is_odd:
            problems.append(
                f"{host_ip} is of another IP family than the peers'; "
                "correct the Node's InternalIP, pass --host-ip or set spec.hostIP of the QuiltNode."
            )
        return problems

    def warnings(self) -> list[str]:
        """Return which peers are left out, as sentences; none where it is this node that is the odd one."""
        apart = [] if self._table.is_odd else self._table.apart
        named = ", ".join(f"{peer.node} ({peer.host_ip})" for peer in apart[:3])
        more = " and others" if len(apart) > 3 else ""
        return [f"Left out, for a host address of the other IP family: {named}{more}."] if apart else []

    def _fallen_back(self) -> bool:
        wishes = self._wishes
        if self.node is None or wishes.flag or wishes.spec or wishes.choice.given:
            return bool(self.unmet)
        return self.underlay is None or self.underlay.host_ip.address not in self.node.internal_ips

"""What a cluster looks like on paper: its addresses, names and slot. Pure: tested without a cluster.

Each cluster uses one of the 32 /20 slices of 198.18.0.0/15, the range reserved for testing networks. The
slices live in namespaces and never meet; they differ so that captures and logs of two clusters cannot be
mixed up.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from quilt_crds.names import DEFAULT_CLUSTER_CIDRS
from quilt_devcluster.errors import DevclusterError

TEST_RANGE = ipaddress.IPv4Network("198.18.0.0/15")
SLICE_LENGTH = 20
SLOTS: int = 2 ** (SLICE_LENGTH - TEST_RANGE.prefixlen)
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_API = "10.96.0.1"
SERVICE_DNS = "10.96.0.10"
SERVICE_CIDR_V6 = "fd10:96::/112"
POD_CIDR = DEFAULT_CLUSTER_CIDRS[0]
POD_CIDR_V6 = "fd42:42::/48"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
BASE_LOOPBACK_PORT = 16440
# The machine of a control plane without nodes, and who may not run on the node that is one.
CONTROL_PLANE = "control-plane"
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
# Nodes count from 1 and get the addresses from .0.16 on; below are the switch and the control plane.
_FIRST_NODE_OFFSET = 15
MAX_NODES = 2 ** (32 - SLICE_LENGTH) - 2 - _FIRST_NODE_OFFSET
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def check_name(name: str) -> str:
    """Return `name` when it can name a cluster and its folder. Raises DevclusterError when not."""
    if not _NAME.fullmatch(name):
        raise DevclusterError(
            f"The cluster name {name!r} cannot be used.",
            hint="use 1 to 32 lower-case letters, digits and inner hyphens",
        )
    return name


def free_slot(used: Collection[int]) -> int:
    """Return the lowest slot not in `used`. Raises DevclusterError when all are taken."""
    for slot in range(SLOTS):
        if slot not in used:
            return slot
    raise DevclusterError(
        f"All {SLOTS} cluster slots are in use.", hint="`quilt-devcluster down` one of them"
    )


@dataclass(frozen=True, slots=True)
class Addresses:
    """All addresses of the cluster in `slot` (0 to SLOTS - 1); a dual-stack one has IPv6 beside IPv4."""

    slot: int
    dual_stack: bool = False

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The cluster's slice, which every machine of it is on."""
        base = int(TEST_RANGE.network_address) + (self.slot << (32 - SLICE_LENGTH))
        return ipaddress.IPv4Network((base, SLICE_LENGTH))

    @property
    def network_v6(self) -> ipaddress.IPv6Network:
        """The IPv6 link of a dual-stack cluster."""
        return ipaddress.IPv6Network(f"fd00:198:18:{self.slot:x}::/64")

    def of_machine(self, address: str) -> list[str]:
        """Return a machine's addresses with prefix lengths: the given one, in dual stack its IPv6 one too."""
        number = int(ipaddress.IPv4Address(address)) - int(self.network.network_address)
        second = f"{self.network_v6.network_address + number}/{self.network_v6.prefixlen}"
        return [f"{address}/{self.network.prefixlen}", *([second] if self.dual_stack else [])]

    @property
    def service_cidrs(self) -> str:
        """The Service networks, as Kubernetes' programs want them."""
        return f"{SERVICE_CIDR},{SERVICE_CIDR_V6}" if self.dual_stack else SERVICE_CIDR

    @property
    def pod_cidrs(self) -> str:
        """The pod networks, as Kubernetes' programs want them."""
        return f"{POD_CIDR},{POD_CIDR_V6}" if self.dual_stack else POD_CIDR

    def _host(self, offset: int) -> str:
        return str(self.network.network_address + offset)

    @property
    def switch(self) -> str:
        """The bridge's own address: the default gateway, so that Service addresses have a route at all."""
        return self._host(1)

    @property
    def control_plane(self) -> str:
        """The address of a control plane without nodes."""
        return self._host(2)

    def node(self, index: int) -> str:
        """The address of node number `index`, counted from 1."""
        if not 1 <= index <= MAX_NODES:
            raise DevclusterError(f"There is no node number {index}; 1 to {MAX_NODES} are possible.")
        return self._host(_FIRST_NODE_OFFSET + index)

    def loopback_port(self, number: int = 0) -> int:
        """Return the port on 127.0.0.1 of the machine that leads to API server `number`, counted from 0."""
        return BASE_LOOPBACK_PORT + self.slot + number * SLOTS


def api_url(address: str) -> str:
    """Return the URL of the API server at `address`."""
    return f"https://{address}:{API_PORT}"


def servers(nodes: Sequence[str]) -> list[str]:
    """Return the machines with an API server: the first two nodes, a machine of its own without nodes."""
    return list(nodes[:2]) or [CONTROL_PLANE]


def server_of(servers: Sequence[str], node: str, index: int) -> str:
    """Return whose API server node number `index` asks: its own where it has one, else by turns."""
    return node if node in servers else servers[index % len(servers)]


def node_name(index: int) -> str:
    """Return the name of node number `index`, counted from 1."""
    return f"node-{index}"


def node_mac(slot: int, index: int) -> str:
    """Return the address of a node's network card: locally administered, the same after every start."""
    return _mac(slot, str(index))


def switch_mac(slot: int) -> str:
    """Return the switch's own: a bridge without one changes it when a port joins, and nodes remember it."""
    return _mac(slot, "switch")


def _mac(slot: int, name: str) -> str:
    digest = bytearray(hashlib.sha256(f"quilt-devcluster/{slot}/{name}".encode()).digest()[:6])
    digest[0] = (digest[0] & 0xFC) | 0x02
    return ":".join(f"{octet:02x}" for octet in digest)

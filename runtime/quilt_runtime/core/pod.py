"""What a pod's interface should be: one description for the kernel, the guard and the result of ADD."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from quilt_runtime.core.guard import Port, pod_mac
from quilt_runtime.core.ipam import Ip


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod's interface, known by its IPv4 `address`; `wished_mac` empty means the one that belongs to that.

    `ways` are address and gateway of each family that the pod has, IPv4 first; `mtu` is in bytes.
    """

    host_interface: str
    interface: str
    address: IPv4Address
    ways: list[tuple[Ip, Ip]]
    mtu: int
    wished_mac: str = ""

    @property
    def mac(self) -> str:
        """The pod's MAC. It follows from the address, so a reused address is no stale neighbour to anyone."""
        return self.wished_mac or pod_mac(self.address)

    @property
    def host_mac(self) -> str:
        """The host end's MAC, which no packet carries."""
        return f"0a:59:{self.address.packed.hex(':')}"

    @property
    def address6(self) -> IPv6Address | None:
        """The twin, None without IPv6."""
        return next((address for address, _ in self.ways if isinstance(address, IPv6Address)), None)

    @property
    def port(self) -> Port:
        """What may come from the pod."""
        return Port(self.host_interface, self.mac, self.address, self.address6)


def default_route(gateway: Ip) -> str:
    """Return the prefix of the route that leads everywhere, of the gateway's family."""
    return "0.0.0.0/0" if gateway.version == 4 else "::/0"

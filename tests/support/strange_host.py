"""Hosts that are no peers, and datagrams that a node sends as one: what they carry is in vxlan_packet."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager

from quilt_crds.names import VXLAN_PORT
from tests.support.mesh import Mesh

SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
sender.sendto(bytes.fromhex(sys.argv[4]), (sys.argv[2], int(sys.argv[3])))
"""


def send(
    mesh: Mesh, node: str, address: str, packet: bytes, *, port: int = VXLAN_PORT, source: str = ""
) -> None:
    """Send a UDP datagram from a node itself."""
    mesh.on(node, "python3", "-c", SEND, source, address, str(port), packet.hex())


@contextmanager
def strange_address(mesh: Mesh, node: str) -> Iterator[str]:
    """Give a node an address that no peer has: what is sent from it comes from a strange host."""
    host = mesh.cluster.node_ip(node)
    (nic,) = (
        item
        for item in json.loads(mesh.on(node, "ip", "-j", "address", "show"))
        if host in {entry["local"] for entry in item["addr_info"]}
    )
    length = next(entry["prefixlen"] for entry in nic["addr_info"] if entry["local"] == host)
    address = str(ipaddress.ip_address(host) + 200)
    mesh.on(node, "ip", "address", "add", f"{address}/{length}", "dev", nic["ifname"])
    try:
        yield address
    finally:
        mesh.on(node, "ip", "address", "del", f"{address}/{length}", "dev", nic["ifname"])

"""What the contract suite and the real kernel's tests are made of: a device, a peer, a refusal."""

from __future__ import annotations

import pytest

from quilt_netlink import (
    ADDRGENMODE_NONE,
    Create,
    FdbEntry,
    KernelLike,
    Link,
    Neighbour,
    Nexthop,
    Op,
    Put,
    Route,
    Vxlan,
)

MAC = "02:00:00:00:02:00"
HOST = "198.18.0.2"
Other = tuple[KernelLike, int]

VXLAN = Link(
    "vxlan100",
    kind="vxlan",
    mac="02:00:00:00:00:01",
    mtu=1400,
    up=True,
    addrgenmode=ADDRGENMODE_NONE,
    vxlan=Vxlan(100, 4789, "198.18.0.1"),
)


def peer(index: int, number: int = 2) -> list[Op]:
    """The four entries of a peer, in the order in which they are added."""
    vtep = f"10.42.{number}.0"
    mac = f"02:00:00:00:{number:02x}:00"
    return [
        Put(Neighbour(index, vtep, mac)),
        Put(FdbEntry(index, mac, f"198.18.0.{number}")),
        Create(Nexthop(number, index, vtep, 81)),
        Put(Route(f"{vtep}/24", 81, nhid=number)),
    ]


def refusal(kernel: KernelLike, op: Op) -> int:
    failures = kernel.apply([op])
    assert [failure.op for failure in failures] == [op]
    assert failures[0].message
    return failures[0].errno


@pytest.fixture
def device(kernel: KernelLike) -> int:
    kernel.run(Create(VXLAN))
    link = kernel.link("vxlan100")
    assert link is not None
    return link.index


def peer6(index: int) -> list[Op]:
    """An IPv6 peer over an IPv4 underlay."""
    return [
        Put(Neighbour(index, "fd42:2::", MAC)),
        Put(FdbEntry(index, MAC, HOST)),
        Create(Nexthop(6, index, "fd42:2::", 81)),
        Put(Route("fd42:2::/64", 81, nhid=6)),
    ]

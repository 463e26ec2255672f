"""Writing to the real kernel in bulk: refusals keep their place and text, nothing breaks in the long run."""

from __future__ import annotations

import array
import errno
import gc
import os
import socket
import weakref
from typing import Any

import pytest

from quilt_netlink import Address, Create, Delete, Kernel, Link, Neighbour, Op, Put, Route
from tests.support.netlink_parts import device, peer  # noqa: F401  # a fixture is used by being there


def test_field_bug_13_a_flood_of_errors_is_mapped_one_by_one(kernel: Kernel, device: int) -> None:  # noqa: F811
    """Each of 20,000 refusals arrives with the kernel's words: the socket's queue is never overrun."""
    routes = (Route(f"10.{n >> 8}.{n & 255}.0/24", 81, nhid=70_000 + n) for n in range(20_000))
    ops: list[Op] = [Put(route) for route in routes]
    ops.insert(12_345, Put(Neighbour(device, "10.42.2.0", "02:00:00:00:02:00")))
    failures = kernel.apply(ops)
    assert [failure.index for failure in failures] == [n for n in range(20_001) if n != 12_345]
    assert {(failure.errno, failure.message) for failure in failures} == {
        (errno.EINVAL, "Nexthop id does not exist")
    }
    assert len(kernel.neighbours(device)) == 1


def test_field_bug_13_sequence_numbers_wrap(kernel: Kernel, device: int) -> None:  # noqa: F811
    kernel._channel._seq = 0x7FFFFFFF - 2
    for _ in range(3):
        assert kernel.apply(peer(device)[:2] + peer(device)[3:]) != []
    kernel._channel._seq = 0x7FFFFFFF - 2
    assert kernel.link("vxlan100") is not None
    assert kernel.apply(peer(device)) == []
    assert kernel.routes(81) == [Route("10.42.2.0/24", 81, nhid=2)]


def test_field_bug_13_lost_answers_are_failures_of_their_datagram(kernel: Kernel, device: int) -> None:  # noqa: F811
    """No operation whose answer was lost passes for done, and the socket serves on."""
    kernel._channel._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    kernel._channel.batch_count = 1000
    good = [op for number in range(2, 4) for op in peer(device, number)]
    bad = [Put(Route(f"10.{n >> 8}.{n & 255}.0/24", 81, nhid=70_000 + n)) for n in range(1000 - len(good))]
    failures = kernel.apply([*good, *bad, *good[:2]])
    assert {failure.index for failure in failures} == set(range(1000))
    assert errno.ENOBUFS in {failure.errno for failure in failures}
    assert len(kernel.routes(81)) == 2


def test_a_batch_of_many_datagrams(kernel: Kernel, device: int) -> None:  # noqa: F811
    channel = kernel._channel
    channel.batch_count, channel.batch_bytes = 16, 1000
    ops: list[Op] = [op for number in range(2, 200) for op in peer(device, number)]
    ops.insert(100, Put(Route("10.1.0.0/16", 81, nhid=9999)))
    assert [failure.index for failure in kernel.apply(ops)] == [100]
    assert len(kernel.routes(81)) == 198


@pytest.mark.kernel
def test_a_socket_received_from_another_namespace_works_there(netns: Any, make_netns: Any) -> None:
    """As the runtime configures a pod: the descriptor arrives over a Unix socket, setns is not needed."""
    inside = make_netns()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far, inside.kernel() as source:
        original = source._channel._sock
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [original.fileno()]))
        near.sendmsg([b"x"], [rights])
        _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
        received = socket.socket(fileno=descriptors[0])
        with Kernel(received) as kernel, netns.kernel() as outside:
            target = inside.descriptor()
            pair = Link("q1", kind="veth", up=True, peer=Link("eth0", mtu=1400, netns_fd=target))
            outside.run(Create(pair))
            eth0 = kernel.link("eth0")
            assert eth0 is not None
            default = Route("0.0.0.0/0", 3, ifindex=eth0.index, gateway="10.42.1.1", onlink=True)
            address = Address(eth0.index, "10.42.1.2/32")
            ops: list[Op] = [Put(Link("eth0", up=True)), Put(address), Put(default)]
            assert kernel.apply(ops) == []
            assert kernel.routes(protocol=3) == [default]
            assert outside.link("eth0") is None
            assert outside.routes(protocol=3) == []
            os.close(target)


@pytest.mark.kernel
def test_a_default_route_through_an_ipv6_gateway(kernel: Kernel, device: int) -> None:  # noqa: F811
    wanted = Route("::/0", 81, ifindex=device, gateway="fe80::1", onlink=True)
    kernel.run(Put(Address(device, "fd42:1::2/128")))
    kernel.run(Put(wanted))
    assert wanted in kernel.routes(81)
    assert kernel.route_get("2001:db8::1").gateway == "fe80::1"  # type: ignore[union-attr]
    kernel.run(Delete(wanted))
    assert kernel.routes(81) == []


@pytest.mark.kernel
def test_a_link_that_cannot_be_finished_is_not_left_behind(kernel: Kernel) -> None:
    failures = kernel.apply([Create(Link("q1", kind="bridge", hairpin=True))])
    assert [failure.index for failure in failures] == [0]
    assert kernel.link("q1") is None


def test_a_closed_kernel_is_gone_without_the_garbage_collector() -> None:
    """Every pod's start opens two, with buffers; where the collector comes seldom they would pile up."""
    gc.disable()
    try:
        opened = Kernel.open()
        assert opened.link("lo") is not None
        opened.apply([])
        gone = weakref.ref(opened)
        opened.close()
        del opened
        assert gone() is None
    finally:
        gc.enable()

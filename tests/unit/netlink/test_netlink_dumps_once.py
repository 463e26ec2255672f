"""A dump holds what was asked for, and no entry twice, whatever the kernel answers."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import (
    Address,
    BridgeGroup,
    FdbEntry,
    Kernel,
    MulticastKernel,
    Neighbour,
    NetlinkError,
    Nexthop,
    Route,
)
from tests.support.netlink_dumps import dumped, pad
from tests.support.netlink_entries import family_of, fdb_entries, neighbours, nexthops, routes

PERMANENT = 0x80
AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6, AF_PHONET, AF_IPMR = 0, 2, 7, 10, 35, 128
RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWMDB, RTM_GETMDB = 20, 24, 84, 86
WITHOUT_IPV6 = frozenset({AF_UNSPEC, AF_INET, AF_BRIDGE, AF_IPMR})
WHOLE = WITHOUT_IPV6 | {AF_INET6}


class ScriptedKernel:
    """A socket to a kernel that holds `messages` and knows `families`, as rtnetlink answers.

    Asked about a family that it does not know it answers a dump with all that it holds
    (rtnetlink_rcv_msg, rtnl_dump_all), and refuses anything else.
    """

    def __init__(self, messages: Iterable[bytes] = (), families: Iterable[int] = WHOLE) -> None:
        self._messages = list(messages)
        self._families = frozenset(families)
        self._answers: list[bytes] = []

    def sendto(self, request: bytes, _address: object) -> None:
        flags, seq = struct.unpack_from("=HI", request, 6)
        known = request[16] in self._families
        if not flags & 0x300:
            error = 0 if known else -errno.EOPNOTSUPP
            self._answers = [struct.pack("=IHHIIi", 36, 2, 0, seq, 0, error) + bytes(request[:16])]
            return
        matching = [held for held in self._messages if not known or request[16] in (AF_UNSPEC, held[16])]
        self._answers = [_numbered(message, seq) for message in matching]
        self._answers.append(struct.pack("=IHHIIi", 20, 3, 2, seq, 0, 0))

    def recvmsg_into(self, buffers: list[memoryview], *_: int) -> tuple[int, list[object], int, None]:
        if not self._answers:
            raise BlockingIOError
        data = self._answers.pop(0)
        buffers[0][: len(data)] = data
        return len(data), [], 0, None

    def getsockname(self) -> tuple[int, int]:
        return 7, 0

    def getsockopt(self, *_: int) -> int:
        return 1 << 20

    def setsockopt(self, *_: object) -> None:
        pass

    def setblocking(self, _: bool) -> None:
        pass


def _numbered(message: bytes, seq: int) -> bytes:
    data = bytearray(pad(message))
    struct.pack_into("=I", data, 8, seq)
    return bytes(data)


def opened(scripted: Any) -> MulticastKernel:
    return MulticastKernel(scripted)


def answer(question: Callable[[], Any]) -> Any:
    """What a question comes to, an exception too."""
    try:
        return question()
    except (NetlinkError, ValueError) as error:
        return error


def raw(kind: int, fixed: bytes, *attributes: tuple[int, bytes]) -> bytes:
    body = fixed + b"".join(
        pad(struct.pack("=HH", len(value) + 4, kind) + value) for kind, value in attributes
    )
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 0, 0) + body


repeats = st.integers(1, 3)
"""How often the kernel tells an entry."""


def repeated(entries: Iterable[tuple[Any, int]]) -> list[bytes]:
    """Encode entries, each the given number of times and then all once more: near and far repetitions."""
    some = list(entries)
    return [
        dumped(entry, PERMANENT, False) for entry, times in [*some, *some[::2]] for entry in [entry] * times
    ]


@given(st.lists(st.tuples(routes(), repeats), max_size=6), st.sampled_from([WHOLE, WITHOUT_IPV6]))
def test_t12_a_dump_of_routes_holds_no_entry_twice(
    held: list[tuple[Route, int]], families: frozenset[int]
) -> None:
    """t12: Routes are read once each, also from a kernel that answers for IPv6 with its IPv4 routes."""
    here = [(route, times) for route, times in held if family_of(route.prefix) in families]
    kernel = opened(ScriptedKernel(repeated(here), families))
    for table in {route.table for route, _ in here}:
        found = kernel.routes(table=table)
        assert len(found) == len(set(found))
        assert set(found) == {route for route, _ in here if route.table == table}


def test_t12_a_kernel_without_ipv6_is_read_right() -> None:
    """t12: The IPv4 routes that a kernel without IPv6 tells in place of the IPv6 ones are not read again."""
    held = [Route(f"10.42.{n}.0/24", 81, nhid=n) for n in range(1, 5)]
    messages = [dumped(route, PERMANENT, False) for route in held]
    assert opened(ScriptedKernel(messages, WITHOUT_IPV6)).routes() == held


READS: dict[type[Any], Callable[[Kernel, Any], list[Any]]] = {
    Neighbour: lambda kernel, entry: kernel.neighbours(entry.ifindex),
    FdbEntry: lambda kernel, entry: kernel.fdb(entry.ifindex),
    Nexthop: lambda kernel, entry: kernel.nexthops(ifindex=entry.ifindex),
}


@pytest.mark.parametrize("strategy", [neighbours, fdb_entries, nexthops], ids=["neighbour", "fdb", "nexthop"])
@given(data=st.data())
def test_t12_no_other_dump_holds_an_entry_twice(
    strategy: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """t12: Neighbours, FDB entries and nexthop objects are read once each, however often they are dumped."""
    held = data.draw(st.lists(st.tuples(strategy, repeats), min_size=1, max_size=6))
    kernel = opened(ScriptedKernel(repeated(held)))
    for entry, _ in held:
        found = READS[type(entry)](kernel, entry)
        assert len(found) == len(set(found))
        assert set(found) == {other for other, _ in held if other.ifindex == entry.ifindex}


@pytest.mark.parametrize("kind", [RTM_NEWMDB, RTM_GETMDB], ids=["new", "as bridges answer"])
def test_t12_bridge_groups_are_read_once_each(kind: int) -> None:
    """t12: A member of a group is read once, also where the kernel tells its bridge twice."""
    entry = struct.pack("=IBBH4s12x2s2x", 5, 1, 0, 0, bytes([239, 1, 1, 1]), b"\x08\x00")
    nested = pad(struct.pack("=HH", len(entry) + 4, 1) + entry)
    nested = struct.pack("=HH", len(nested) + 4, 1) + nested
    message = raw(kind, struct.pack("=B3xI", AF_BRIDGE, 4), (1, nested))
    assert opened(ScriptedKernel([message, message])).groups() == [BridgeGroup(4, 5, "239.1.1.1")]


def test_t12_a_kernel_without_multicast_routing_has_no_multicast_routes() -> None:
    """t12: Unicast routes that come in place of the multicast ones are not taken for those."""
    by_source = raw(
        RTM_NEWROUTE,
        struct.pack("=BBBBBBBBI", AF_INET6, 64, 64, 0, 254, 3, 0, 1, 0),
        *((number, bytes(16)) for number in (1, 2)),
        (15, struct.pack("=I", 254)),
    )
    kernel = opened(ScriptedKernel([by_source], WHOLE - {AF_IPMR}))
    assert answer(lambda: kernel.multicast_routes(254)) == []


def test_t12_addresses_of_another_kind_are_no_ip_addresses() -> None:
    """t12: A dump of all families' addresses holds the two families that were meant."""
    phonet = raw(RTM_NEWADDR, struct.pack("=BBBBI", AF_PHONET, 0, 0, 0, 3), (2, b"\x6c"))
    mine = raw(RTM_NEWADDR, struct.pack("=BBBBI", AF_INET, 24, 0, 0, 3), (2, bytes([198, 18, 0, 1])))
    assert opened(ScriptedKernel([phonet, mine])).addresses() == [Address(3, "198.18.0.1/24")]


def test_t12_a_kernel_without_ipv6_has_no_route_to_an_ipv6_address() -> None:
    """t12: Without IPv6 the question for a way to an IPv6 address is answered by "none", not by an error."""
    kernel = opened(ScriptedKernel(families=WITHOUT_IPV6))
    assert answer(lambda: kernel.route_get("2001:db8::1")) is None

"""Members of the sets and maps of an nftables table, written as one transaction: all of it, or nothing.

A set of thousands is neither read nor written for one of them. The program nft reads all members before it
deletes one, in 20 ms.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from quilt_netlink import constants as c
from quilt_netlink.channel import Channel, open_socket
from quilt_netlink.ops import NetlinkError
from quilt_netlink.schema import nfbatch, nfsetelem
from quilt_netlink.shapes import DEL, NEW, Attributes, Message, attribute, pack_ip, pack_mac
from quilt_netlink.tables import Table

MOST = 2_000
"""Addresses of a change that is sooner followed than the whole table is written."""
INET, BRIDGE = 1, 7  # NFPROTO_INET, NFPROTO_BRIDGE
_SUBSYSTEM = {"resource": 10}  # NFNL_SUBSYS_NFTABLES
_GET_ELEMENTS, _DEL_ELEMENTS = 1, 2  # nftables counts otherwise than rtnetlink
_LARGEST = 60_000
"""Bytes of elements in one message: they are one attribute, whose length has 16 bits."""
_BE32 = struct.Struct(">I")
_JUMP = 0xFFFFFFFD  # NFT_JUMP
_INTERVAL_END = 1


class Element(Struct, frozen=True):
    """An element that is more than a key: what a map jumps to, or one behind the last of an interval."""

    key: bytes
    chain: str = ""
    ends: bool = False


class SetChange(Struct, frozen=True):
    """Addresses of one family that come into a set (`new`) or leave it; bytes are keys (`port_key`).

    A key of several fields is their bytes one after the other, each filled to a multiple of four. The element
    of a map leaves it by its key alone; in place of an address another chain is put by leaving and coming.
    """

    name: str
    addresses: Sequence[str | bytes | Element]
    new: bool


class Flush(Struct, frozen=True):
    """All elements leave a set, those too that packets put there."""

    name: str


def port_key(interface: str, mac: str, address: str = "") -> bytes:
    """Return a key of type `ifname . ether_addr`, with an address `… . ipv4_addr` or `… . ipv6_addr`.

    Each part fills whole registers of four bytes. Raises OSError or ValueError for an invalid one.
    """
    head = struct.pack("=16s6s2x", interface.encode(), pack_mac(mac))
    return head + pack_ip(address) if address else head


class NftSets:
    """The sets of one table, in one network namespace."""

    def __init__(self, table: str, netns_path: str | None = None, family: int = INET) -> None:
        """Open the calling thread's network namespace, or the one at a path (which needs SYS_ADMIN)."""
        self._channel = Channel(open_socket(c.NETLINK_NETFILTER, netns_path))
        self._table = table
        self._family = family

    def close(self) -> None:
        """Close the socket; the kernel needs 10 ms for it where something was deleted just before."""
        self._channel.close()

    @property
    def port(self) -> int:
        """The number that the kernel's notifications of our changes carry."""
        return self._channel.port

    def change(self, changes: Sequence[SetChange | Flush]) -> None:
        """Make all changes, in order; each of at least one address.

        Raises NetlinkError: a set or an address to delete is not there (ENOENT), an address is invalid
        (EINVAL), a map has the address with another chain (EBUSY), all is more than a socket's queue holds
        (EMSGSIZE, from some 200,000 addresses on). An address that is there already is fine, but not where an
        interval begins.
        """
        try:
            parts = [part for change in changes for part in _parts(change)]
        except (OSError, ValueError) as error:
            raise NetlinkError(errno.EINVAL, f"not an address: {error}") from error
        first = self._channel.number(len(parts) + 2)
        last = first + len(parts)
        messages = [
            self._message(change, elements, seq, c.NLM_F_ACK if seq == last else 0)
            for seq, (change, elements) in enumerate(parts, first + 1)
        ]
        begin, end = nfbatch.encode(NEW, _SUBSYSTEM, seq=first), nfbatch.encode(DEL, _SUBSYSTEM, seq=last + 1)
        self._channel.transaction([begin, *messages, end], first, last)

    def members(self, name: str) -> set[bytes]:
        """Return the keys of a set's elements; raises NetlinkError (ENOENT: there is no such set)."""
        return {element.key for element in self.elements(name)}

    def elements(self, name: str) -> set[Element]:
        """Return the elements of a set or map; raises NetlinkError as `members`."""
        request = self._encode(_GET_ELEMENTS, c.NLM_F_DUMP, name)
        table = Table(f"the set {name}", nfsetelem, _elements, absent=())
        return {element for elements in table.answer(self._channel, request) for element in elements}

    def _message(self, change: SetChange | Flush, elements: bytes, seq: int, flags: int) -> bytes:
        if isinstance(change, SetChange) and change.new:
            what, flags = NEW, flags | c.NLM_F_CREATE
        else:
            what = _DEL_ELEMENTS
        attrs = [("NFTA_SET_ELEM_LIST_ELEMENTS", elements)] if elements else []
        return self._encode(what, flags, change.name, *attrs, seq=seq)

    def _encode(self, what: int, flags: int, name: str, *attrs: tuple[str, Any], seq: int = 0) -> bytes:
        where: Attributes = [("NFTA_SET_ELEM_LIST_TABLE", self._table), ("NFTA_SET_ELEM_LIST_SET", name)]
        return nfsetelem.encode(what, {"family": self._family}, [*where, *attrs], flags, seq)


def _parts(change: SetChange | Flush) -> Iterator[tuple[SetChange | Flush, bytes]]:
    """Yield what of a change is in each of its messages; raises OSError or ValueError."""
    if isinstance(change, Flush):
        yield change, b""
        return
    packed: list[bytes] = []
    size = 0
    for element in map(_packed, change.addresses):
        if size + len(element) > _LARGEST:
            yield change, b"".join(packed)
            packed, size = [], 0
        packed.append(element)
        size += len(element)
    yield change, b"".join(packed)


def _packed(element: str | bytes | Element) -> bytes:
    """Pack an element as the kernel reads it (NFTA_LIST_ELEM, of the attributes of nfsetelem)."""
    if isinstance(element, str):
        element = pack_ip(element)
    if isinstance(element, bytes):
        return attribute(1, attribute(1, attribute(1, element)))
    held = attribute(1, attribute(1, element.key))
    if element.chain:
        verdict = attribute(1, _BE32.pack(_JUMP)) + attribute(2, element.chain.encode() + b"\0")
        held += attribute(2, attribute(2, verdict))
    if element.ends:
        held += attribute(3, _BE32.pack(_INTERVAL_END))
    return attribute(1, held)


def _elements(found: Message) -> tuple[Element, ...]:
    """Return the elements that a message has, those with a key."""
    return tuple(_read(found.get("NFTA_SET_ELEM_LIST_ELEMENTS", ())))


def _read(found: Iterable[Message]) -> Iterator[Element]:
    for element in found:
        key = element.get("NFTA_SET_ELEM_KEY", {}).get("NFTA_DATA_VALUE")
        verdict = element.get("NFTA_SET_ELEM_DATA", {}).get("NFTA_DATA_VERDICT", {})
        if key is not None:
            ends = bool(element.get("NFTA_SET_ELEM_FLAGS", 0) & _INTERVAL_END)
            yield Element(key, verdict.get("NFTA_VERDICT_CHAIN", ""), ends)

"""Members of the sets of an nftables table, written as one transaction: all of it, or nothing.

A set of thousands is neither read nor written for one of them. The program nft reads all members before it
deletes one, in 20 ms.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from quilt_netlink import constants as c
from quilt_netlink.channel import Channel, open_socket
from quilt_netlink.ops import NetlinkError
from quilt_netlink.schema import nfbatch, nfsetelem
from quilt_netlink.shapes import DEL, NEW, Attributes, Message, pack_ip, pack_mac
from quilt_netlink.tables import Table

MOST = 2_000
"""Addresses in one change: those of one set must fit into an attribute of 64 KiB."""

INET, BRIDGE = 1, 7  # NFPROTO_INET, NFPROTO_BRIDGE
_SUBSYSTEM = {"resource": 10}  # NFNL_SUBSYS_NFTABLES
_GET_ELEMENTS, _DEL_ELEMENTS = 1, 2  # nftables counts otherwise than rtnetlink


class SetChange(Struct, frozen=True):
    """Addresses of one family that come into a set (`new`) or leave it; bytes are keys (`port_key`)."""

    name: str
    addresses: Sequence[str | bytes]
    new: bool


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

    def change(self, changes: Sequence[SetChange]) -> None:
        """Make all changes, of at least one and at most MOST addresses.

        Raises NetlinkError: a set or an address to delete is not there (ENOENT), an address is invalid
        (EINVAL). An address that is there already is fine.
        """
        first = self._channel.number(len(changes) + 2)
        last = first + len(changes)
        try:
            messages = [self._elements(change, seq) for seq, change in enumerate(changes, first + 1)]
        except (OSError, ValueError) as error:
            raise NetlinkError(errno.EINVAL, f"not an address: {error}") from error
        begin, end = nfbatch.encode(NEW, _SUBSYSTEM, seq=first), nfbatch.encode(DEL, _SUBSYSTEM, seq=last + 1)
        self._channel.transaction([begin, *messages, end], first, last)

    def members(self, name: str) -> set[bytes]:
        """Return the keys of a set's elements; raises NetlinkError (ENOENT: there is no such set)."""
        request = self._encode(_GET_ELEMENTS, c.NLM_F_DUMP, name)
        table = Table(f"the set {name}", nfsetelem, _keys, absent=())
        return {key for keys in table.answer(self._channel, request) for key in keys}

    def _elements(self, change: SetChange, seq: int) -> bytes:
        packed = [key if isinstance(key, bytes) else pack_ip(key) for key in change.addresses]
        keys = [{"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]} for key in packed]
        what, flags = (NEW, c.NLM_F_CREATE) if change.new else (_DEL_ELEMENTS, 0)
        elements = ("NFTA_SET_ELEM_LIST_ELEMENTS", keys)
        return self._encode(what, c.NLM_F_ACK | flags, change.name, elements, seq=seq)

    def _encode(self, what: int, flags: int, name: str, *attrs: tuple[str, Any], seq: int = 0) -> bytes:
        where: Attributes = [("NFTA_SET_ELEM_LIST_TABLE", self._table), ("NFTA_SET_ELEM_LIST_SET", name)]
        return nfsetelem.encode(what, {"family": self._family}, [*where, *attrs], flags, seq)


def _keys(found: Message) -> tuple[bytes, ...]:
    """Return the keys of the elements that a message tells."""
    elements = found.get("NFTA_SET_ELEM_LIST_ELEMENTS", ())
    keys = [element.get("NFTA_SET_ELEM_KEY", {}) for element in elements]
    return tuple(key["NFTA_DATA_VALUE"] for key in keys if "NFTA_DATA_VALUE" in key)

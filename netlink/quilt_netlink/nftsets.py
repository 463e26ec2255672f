"""Members of the sets of an nftables table, written as one transaction: all of it, or nothing.

A set of thousands is neither read nor written for one of them. The program nft reads all members before it
deletes one, which takes it 20 ms.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from quilt_netlink import constants as c
from quilt_netlink.channel import end_of_dump, open_socket, refusal, walk
from quilt_netlink.errors import NetlinkError
from quilt_netlink.messages import Attributes, encode, pack_ip, pack_mac, walk_attributes
from quilt_netlink.namespaces import socket_in
from quilt_netlink.schema import RAW, TEXT, Nested, Schema

NETLINK_NETFILTER = 12
MOST = 2_000
"""Addresses in one change: those of one set must fit into an attribute of 64 KiB."""

INET, BRIDGE = 1, 7  # NFPROTO_INET, NFPROTO_BRIDGE
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | kind for kind in (12, 13, 14))  # NFT_MSG_{NEW,GET,DEL}SETELEM
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_{BEGIN,END}
_KEY = Nested({"NFTA_DATA_VALUE": (1, RAW)})
_ELEMENT = Nested({"NFTA_SET_ELEM_KEY": (1, _KEY)})
_SETELEM = Schema(
    struct.Struct(">BBH"),  # struct nfgenmsg
    ("family", "version", "resource"),
    {
        "NFTA_SET_ELEM_LIST_TABLE": (1, TEXT),
        "NFTA_SET_ELEM_LIST_SET": (2, TEXT),
        "NFTA_SET_ELEM_LIST_ELEMENTS": (3, Nested({"NFTA_LIST_ELEM": (1, _ELEMENT)})),
    },
)
_TIMEOUT = struct.pack("@ll", 10, 0)
_BUFFER = 64 << 10
_HEAD = 20  # of the message and of struct nfgenmsg


@dataclass(frozen=True, slots=True)
class SetChange:
    """Addresses of one family that come into a set (`new`) or leave it; bytes are keys (`port_key`)."""

    name: str
    addresses: Sequence[str | bytes]
    new: bool


def port_key(interface: str, mac: str, address: str = "") -> bytes:
    """Return a key of type `ifname . ether_addr`, with an address `… . ipv4_addr` or `… . ipv6_addr`.

    Each part fills whole registers of four bytes. Raises OSError or ValueError for what is none.
    """
    head = struct.pack("=16s6s2x", interface.encode(), pack_mac(mac))
    return head + pack_ip(address) if address else head


class NftSets:
    """The sets of one table, in one network namespace."""

    def __init__(self, sock: socket.socket, table: str, family: int = INET) -> None:
        """Take over an AF_NETLINK/NETLINK_NETFILTER socket."""
        self._sock = sock
        self._table = table
        self._family = family
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        if sock.getsockname()[0] == 0:
            sock.bind((0, 0))

    @classmethod
    def open(cls, table: str, netns_path: str | None = None, family: int = INET) -> Self:
        """Open the calling thread's network namespace, or the one at a path (which needs SYS_ADMIN)."""
        protocol = NETLINK_NETFILTER
        sock = open_socket(protocol) if netns_path is None else socket_in(netns_path, protocol)
        return cls(sock, table, family)

    def close(self) -> None:
        """Close the socket; the kernel takes 10 ms for it where something was deleted just before."""
        self._sock.close()

    @property
    def port(self) -> int:
        """The number that the kernel's notifications of our changes carry."""
        port: int = self._sock.getsockname()[0]
        return port

    def change(self, changes: Sequence[SetChange]) -> None:
        """Make all changes, of at least one and at most MOST addresses.

        Raises NetlinkError: a set or an address to delete is not there (ENOENT), an address is none (EINVAL).
        The socket is of no more use then. An address that is there already is fine.
        """
        try:
            messages = [self._elements(change, seq) for seq, change in enumerate(changes, 1)]
        except (OSError, ValueError) as error:
            raise NetlinkError(errno.EINVAL, f"not an address: {error}") from error
        batch = [_limit(_BEGIN, 0), *messages, _limit(_END, len(changes) + 1)]
        try:
            self._sock.send(b"".join(batch))
            self._confirmed(len(changes))
        except NetlinkError:
            raise
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, f"nftables does not answer: {error}") from error

    def members(self, name: str) -> set[bytes]:
        """Return the keys of a set's elements; raises NetlinkError (ENOENT: there is no such set)."""
        attrs: Attributes = [("NFTA_SET_ELEM_LIST_TABLE", self._table), ("NFTA_SET_ELEM_LIST_SET", name)]
        fields = {"family": self._family}
        try:
            self._sock.send(encode(_SETELEM, _GET, c.NLM_F_REQUEST | c.NLM_F_DUMP, fields, attrs, 1))
            found: set[bytes] = set()
            while True:
                view = memoryview(self._sock.recv(_BUFFER))
                for kind, flags, _, start, end in walk(view, len(view)):
                    if end_of_dump(view, kind, flags, start, end):
                        return found
                    if kind == _NEW:
                        found.update(_keys(bytes(view[start + _HEAD : end])))
        except NetlinkError:
            raise
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, f"nftables does not answer: {error}") from error

    def _elements(self, change: SetChange, seq: int) -> bytes:
        packed = [key if isinstance(key, bytes) else pack_ip(key) for key in change.addresses]
        keys = [{"attrs": [("NFTA_DATA_VALUE", key)]} for key in packed]
        elements = [("NFTA_LIST_ELEM", {"attrs": [("NFTA_SET_ELEM_KEY", key)]}) for key in keys]
        attrs: Attributes = [
            ("NFTA_SET_ELEM_LIST_TABLE", self._table),
            ("NFTA_SET_ELEM_LIST_SET", change.name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", {"attrs": elements}),
        ]
        kind, flags = (_NEW, c.NLM_F_CREATE) if change.new else (_DELETE, 0)
        return encode(
            _SETELEM, kind, c.NLM_F_REQUEST | c.NLM_F_ACK | flags, {"family": self._family}, attrs, seq
        )

    def _confirmed(self, last: int) -> None:
        """Read until the last change's answer; the first refusal is raised."""
        while True:
            view = memoryview(self._sock.recv(_BUFFER))
            for kind, flags, seq, start, end in walk(view, len(view)):
                if kind != c.NLMSG_ERROR:
                    continue
                error, text = refusal(view, flags, start, end)
                if error:
                    raise NetlinkError(error, text)
                if seq == last:
                    return


def _keys(body: bytes) -> Iterator[bytes]:
    """Yield the keys of the elements that a message tells."""
    for element in _each(body, 3):  # NFTA_SET_ELEM_LIST_ELEMENTS
        for listed in _each(element, 1):  # NFTA_LIST_ELEM
            for key in _each(listed, 1):  # NFTA_SET_ELEM_KEY
                yield from _each(key, 1)  # NFTA_DATA_VALUE


def _each(data: bytes, wanted: int) -> Iterator[bytes]:
    return (value for kind, value in walk_attributes(data) if kind == wanted)


def _limit(kind: int, seq: int) -> bytes:
    """Encode the beginning or the end of a transaction."""
    return encode(_SETELEM, kind, c.NLM_F_REQUEST, {"resource": _SUBSYSTEM}, [], seq)

"""Addresses in the sets of an nftables table, written as one transaction: all of it, or nothing.

A set of thousands is neither read nor written for one of them. The program nft reads all members before it
deletes one, which takes it 20 ms.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from quilt_netlink import constants as c
from quilt_netlink.channel import open_socket, refusal, walk
from quilt_netlink.errors import NetlinkError
from quilt_netlink.messages import Attributes, encode
from quilt_netlink.namespaces import socket_in
from quilt_netlink.schema import IP, TEXT, Nested, Schema

NETLINK_NETFILTER = 12
MOST = 2_000
"""Addresses in one change: those of one set must fit into an attribute of 64 KiB."""

_INET = 1  # NFPROTO_INET
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _DELETE = (_SUBSYSTEM << 8 | kind for kind in (12, 14))  # NFT_MSG_{NEW,DEL}SETELEM
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_{BEGIN,END}
_KEY = Nested({"NFTA_DATA_VALUE": (1, IP)})
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


@dataclass(frozen=True, slots=True)
class SetChange:
    """Addresses of one family that come into a set (`new`) or leave it."""

    name: str
    addresses: Sequence[str]
    new: bool


class NftSets:
    """The sets of one table of family inet, in one network namespace."""

    def __init__(self, sock: socket.socket, table: str) -> None:
        """Take over an AF_NETLINK/NETLINK_NETFILTER socket."""
        self._sock = sock
        self._table = table
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        if sock.getsockname()[0] == 0:
            sock.bind((0, 0))

    @classmethod
    def open(cls, table: str, netns_path: str | None = None) -> Self:
        """Open the calling thread's network namespace, or the one at a path (which needs SYS_ADMIN)."""
        protocol = NETLINK_NETFILTER
        return cls(open_socket(protocol) if netns_path is None else socket_in(netns_path, protocol), table)

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

    def _elements(self, change: SetChange, seq: int) -> bytes:
        keys = [{"attrs": [("NFTA_DATA_VALUE", address)]} for address in change.addresses]
        elements = [("NFTA_LIST_ELEM", {"attrs": [("NFTA_SET_ELEM_KEY", key)]}) for key in keys]
        attrs: Attributes = [
            ("NFTA_SET_ELEM_LIST_TABLE", self._table),
            ("NFTA_SET_ELEM_LIST_SET", change.name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", {"attrs": elements}),
        ]
        kind, flags = (_NEW, c.NLM_F_CREATE) if change.new else (_DELETE, 0)
        return encode(_SETELEM, kind, c.NLM_F_REQUEST | c.NLM_F_ACK | flags, {"family": _INET}, attrs, seq)

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


def _limit(kind: int, seq: int) -> bytes:
    """Encode the beginning or the end of a transaction."""
    return encode(_SETELEM, kind, c.NLM_F_REQUEST, {"resource": _SUBSYSTEM}, [], seq)

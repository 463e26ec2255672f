"""What the kernel counts: packets of devices and of nftables' rules, and how full the neighbour tables are.

Read as it is asked for, by one file and a few short dumps; nothing is kept.
"""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from socket import AF_INET, AF_INET6

from msgspec import Struct

from quilt_netlink import constants as c
from quilt_netlink.channel import Channel, open_socket
from quilt_netlink.schema import ndtmsg, nfobj
from quilt_netlink.shapes import GET, Message
from quilt_netlink.tables import Table

_COUNTER = 1  # NFT_OBJECT_COUNTER
_GET_OBJECTS = 3  # nftables counts otherwise than rtnetlink
_ENTRIES = struct.Struct("=4xI")
"""Of struct ndt_config: behind two sizes."""
_TABLE_FULLS = struct.Struct("=80xQ")
"""Of struct ndt_stats: the last of eleven."""


class Traffic(Struct, frozen=True):
    """What a device has received, or sent, since it exists."""

    bytes: int
    packets: int
    errors: int
    drops: int


class NeighbourTable(Struct, frozen=True):
    """How full a family's neighbour table is, which all namespaces of a host share.

    The limit is for entries that are not permanent (Linux 5.0); `overflows` counts those refused by it.
    """

    family: int
    entries: int
    limit: int
    overflows: int


class Counted(Struct, frozen=True):
    """A named counter of an nftables table."""

    name: str
    packets: int
    bytes: int


def devices(path: Path = Path("/proc/net/dev")) -> dict[str, tuple[Traffic, Traffic]]:
    """Return what each device of the process' namespace received and sent, by its name.

    Raises OSError where the file cannot be read.
    """
    found = {}
    for line in path.read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(text) for text in rest.split()]
        # Of eight each: bytes, packets, errs, drop, and what is part of these.
        found[name.strip()] = (Traffic(*numbers[:4]), Traffic(*numbers[8:12]))
    return found


def neighbour_tables(netns_path: str | None = None) -> list[NeighbourTable]:
    """Return the tables of IPv4 and IPv6, those that the kernel has; raises NetlinkError or OSError."""
    table = Table("neighbour tables", ndtmsg, _neighbour_table)
    with closing(Channel(open_socket(netns_path=netns_path))) as channel:
        found = table.answer(channel, ndtmsg.encode(GET, {}, flags=c.NLM_F_DUMP))
    return [one for one in found if one.family in (AF_INET, AF_INET6)]


def nft_counters(family: int, table: str, netns_path: str | None = None) -> list[Counted]:
    """Return the named counters of a table, none where there is no such table.

    `family` is nftables' number. Raises NetlinkError or OSError.
    """
    reader = Table(f"counters of {table}", nfobj, _counted)
    attrs = [("NFTA_OBJ_TABLE", table), ("NFTA_OBJ_TYPE", _COUNTER)]
    with closing(Channel(open_socket(c.NETLINK_NETFILTER, netns_path))) as channel:
        found: list[Counted] = reader.answer(
            channel, nfobj.encode(_GET_OBJECTS, {"family": family}, attrs, c.NLM_F_DUMP)
        )
    return found


def _neighbour_table(found: Message) -> NeighbourTable | None:
    """Make a table of the first of its messages; the others are about each device's settings."""
    config, stats = found.get("NDTA_CONFIG"), found.get("NDTA_STATS")
    if config is None or stats is None or len(stats) < _TABLE_FULLS.size:
        return None
    (entries,), (overflows,) = _ENTRIES.unpack_from(config), _TABLE_FULLS.unpack_from(stats)
    return NeighbourTable(found["family"], entries, found.get("NDTA_THRESH3", 0), overflows)


def _counted(found: Message) -> Counted | None:
    data = found.get("NFTA_OBJ_DATA")
    if data is None:
        return None
    return Counted(found["NFTA_OBJ_NAME"], data["NFTA_COUNTER_PACKETS"], data["NFTA_COUNTER_BYTES"])

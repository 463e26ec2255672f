"""What the real kernel counts, as we read it: devices, named counters of nftables, neighbour tables."""

from __future__ import annotations

import json
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from quilt_netlink import counters
from quilt_netlink.nftsets import BRIDGE, INET
from tests.support.namespaces import Namespace

pytestmark = pytest.mark.kernel

RULES = """
table inet t {
    counter lost { }
    counter other { }
    chain in {
        type filter hook input priority 0;
        udp dport 9 counter name lost drop
    }
}
table inet u { counter lost { }; }
"""


def device(netns: Namespace) -> None:
    """A pair that sends nothing by itself, as IPv6 would."""
    netns.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    netns.run("ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
    netns.run("ip", "link", "set", "d0", "up")
    netns.run("ip", "link", "set", "d1", "up")


def test_the_counters_of_one_table_are_read(netns: Namespace) -> None:
    netns.run("nft", "-f", "-", stdin=RULES)
    netns.run("bash", "-c", "echo 12345 > /dev/udp/127.0.0.1/9")
    found = {one.name: one for one in counters.nft_counters(INET, "t", netns.path)}
    assert found == {
        "lost": counters.Counted("lost", 1, 20 + 8 + 6),
        "other": counters.Counted("other", 0, 0),
    }
    assert counters.nft_counters(BRIDGE, "t", netns.path) == []
    assert counters.nft_counters(INET, "none", netns.path) == []


def test_what_a_device_sends_and_loses_is_counted(netns: Namespace, tmp_path: Path) -> None:
    device(netns)
    netns.run("ip", "address", "add", "198.18.0.1/24", "dev", "d0")
    netns.run("ip", "neigh", "add", "198.18.0.2", "lladdr", "02:00:00:00:00:02", "dev", "d0")
    netns.run("bash", "-c", "echo 12345 > /dev/udp/198.18.0.2/9")
    (tmp_path / "dev").write_text(netns.run("cat", "/proc/net/dev"))
    received, sent = counters.devices(tmp_path / "dev")["d0"]
    (listed,) = json.loads(netns.run("ip", "-j", "-s", "link", "show", "d0"))
    theirs = [
        counters.Traffic(
            *(listed["stats64"][way][name] for name in ("bytes", "packets", "errors", "dropped"))
        )
        for way in ("rx", "tx")
    ]
    assert [received, sent] == theirs
    assert sent.packets


def test_a_neighbour_table_is_as_full_as_it_is(netns: Namespace) -> None:
    def entries() -> dict[int, int]:
        return {table.family: table.entries for table in counters.neighbour_tables(netns.path)}

    assert entries().keys() == {AF_INET, AF_INET6}
    assert all(table.limit > 0 for table in counters.neighbour_tables(netns.path))
    device(netns)
    batch = "".join(
        f"neigh add 198.18.{high}.{low} lladdr 02:00:00:00:00:02 nud permanent dev d0\n"
        for high in range(4)
        for low in range(250)
    )
    before = entries()[AF_INET]
    netns.run("ip", "-batch", "-", stdin=batch)
    # All namespaces share the table, so that others may come and go meanwhile: some, not a thousand.
    assert entries()[AF_INET] - before > 500

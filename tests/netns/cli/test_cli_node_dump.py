"""`quiltctl node dump` says of a kernel what `ip` and `bridge` say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.namespaces import Namespace
from tests.support.runtime_node import eventually

SCENE = """
link add br0 type bridge
link add v0 type veth peer v1
link set v0 master br0
link set v0 type bridge_slave isolated on learning off hairpin on
link add vx0 mtu 1400 type vxlan id 7 dstport 4789 local 127.0.0.1 nolearning
link set br0 up
link set v0 up
link set v1 up
link set vx0 up
address add 10.1.0.1/24 dev br0
"""
ROUTES = """
nexthop add id 5 via 10.1.0.2 dev br0
nexthop add id 6 via 10.1.0.3 dev br0
nexthop add id 7 group 5/6,3
nexthop add id 8 blackhole
route add 10.2.0.0/24 nhid 5 proto 81
route add 10.3.0.0/24 nhid 7
route add 10.4.0.0/24 via 10.8.0.1 dev vx0 onlink mtu 1300 table 77
route add blackhole 10.6.0.0/16 metric 9
route add fd00:9::/64 dev br0
rule add from 10.3.0.0/16 iif br0 lookup 77 priority 7
neighbor add 10.8.0.1 lladdr 02:00:00:00:00:01 dev vx0 nud permanent
"""
FDB = ("bridge", "fdb", "add", "02:00:00:00:00:01", "dev", "vx0", "dst", "192.0.2.1", "self", "permanent")
GROUP = ("bridge", "mdb", "add", "dev", "br0", "port", "v0", "grp", "239.1.1.1", "permanent")
RULES = """
table inet quilt-policy {
  set large { type ipv4_addr; elements = { 192.0.2.1 }; }
  chain c { type filter hook forward priority 0; policy accept;
    ip saddr @large counter drop
  }
}
table bridge quilt {
  set guard { type ifname . ether_addr; elements = { "v0" . 02:00:00:00:00:01 }; }
}
"""


@pytest.fixture
def dumped(netns: Namespace, tmp_path: Path) -> dict[str, Any]:
    netns.run("ip", "-batch", "-", stdin=SCENE)
    # Carrier comes a moment after `up`; without it a device accepts no next hop.
    eventually(lambda: "LOWER_UP" in netns.run("ip", "link", "show", "br0"), "br0 has its carrier")
    netns.run("ip", "-batch", "-", stdin=ROUTES)
    netns.run(*FDB)
    netns.run(*GROUP)
    netns.run("nft", "-f", "-", stdin=RULES)
    command = [sys.executable, "-m", "quilt_cli", "node", "dump", "--node-name", "n1", "-o", "json"]
    return dict(json.loads(netns.run(*command, "--cni-conf-dir", str(tmp_path))))


def only(found: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    return next(item for item in found if wanted.items() <= item.items())


def test_the_document_is_whole(dumped: dict[str, Any]) -> None:
    assert (dumped["kind"], dumped["node"], dumped["missing"]) == ("QuiltNodeDump", "n1", {})


def test_links_say_what_ip_says(dumped: dict[str, Any], netns: Namespace) -> None:
    for listed in json.loads(netns.run("ip", "-j", "-d", "link")):
        found = only(dumped["links"], ifindex=listed["ifindex"])
        same = ("ifname", "mtu", "operstate", "master", "address", "qdisc", "link", "txqlen")
        assert {name: found.get(name) for name in same} == {name: listed.get(name) for name in same}
        # `ip` shows the lack of RUNNING as NO-CARRIER.
        assert set(found["flags"]) - {"RUNNING"} == set(listed["flags"]) - {"NO-CARRIER"}
    port = only(dumped["links"], ifname="v0")["linkinfo"]["info_slave_data"]
    assert (port["isolated"], port["hairpin"], port["learning"]) == (True, True, False)
    vxlan = only(dumped["links"], ifname="vx0")["linkinfo"]
    assert (vxlan["info_kind"], vxlan["info_data"]["id"], vxlan["info_data"]["port"]) == ("vxlan", 7, 4789)
    assert only(dumped["links"], ifname="lo")["stats64"]["rx"]["packets"] >= 0


def test_routes_next_hops_rules_and_addresses(dumped: dict[str, Any]) -> None:
    assert only(dumped["routes"], dst="10.2.0.0/24") == {
        "family": "inet",
        "type": "unicast",
        "dst": "10.2.0.0/24",
        "table": 254,
        "protocol": 81,
        "scope": "universe",
        "nhid": 5,
        "gateway": "10.1.0.2",
        "dev": "br0",
        "flags": [],
    }
    several = only(dumped["routes"], dst="10.3.0.0/24")
    assert [(way["gateway"], way["weight"]) for way in several["nexthops"]] == [
        ("10.1.0.2", 1),
        ("10.1.0.3", 3),
    ]
    onlink = only(dumped["routes"], dst="10.4.0.0/24", table=77)
    assert (onlink["flags"], onlink["metrics"], onlink["dev"]) == (["onlink"], {"mtu": 1300}, "vx0")
    assert only(dumped["routes"], type="blackhole", metric=9)["dst"] == "10.6.0.0/16"
    assert only(dumped["routes"], family="inet6", dst="fd00:9::/64")["dev"] == "br0"
    assert only(dumped["nexthops"], id=7)["group"] == [{"id": 5, "weight": 1}, {"id": 6, "weight": 3}]
    assert only(dumped["nexthops"], id=8)["blackhole"] is True
    assert only(dumped["rules"], priority=7, iif="br0")["table"] == 77
    assert only(dumped["addresses"], ifname="br0", family="inet")["local"] == "10.1.0.1"


def test_neighbors_fdb_and_groups(dumped: dict[str, Any]) -> None:
    assert only(dumped["neighbors"], dst="10.8.0.1")["state"] == ["PERMANENT"]
    entry = only(dumped["fdb"], ifname="vx0", mac="02:00:00:00:00:01")
    assert (entry["dst"], entry["state"], entry["flags"]) == ("192.0.2.1", "permanent", ["self"])
    assert only(dumped["mdb"], grp="239.1.1.1") == {
        "dev": "br0",
        "port": "v0",
        "grp": "239.1.1.1",
        "state": "permanent",
    }


def test_the_packet_filter_has_counters_and_elements_of_the_meshs_small_sets_alone(
    dumped: dict[str, Any],
) -> None:
    sets = {entry["set"]["name"]: entry["set"].get("elem") for entry in dumped["nft"] if "set" in entry}
    assert sets == {"large": None, "guard": [{"concat": ["v0", "02:00:00:00:00:01"]}]}
    rule = next(entry["rule"] for entry in dumped["nft"] if "rule" in entry)
    assert {"counter": {"packets": 0, "bytes": 0}} in rule["expr"]
    assert dumped["sysctls"]["ipv4/conf/v0/rp_filter"] in {"0", "1", "2"}

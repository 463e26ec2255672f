"""The nftables text: one transaction, peers change as elements, no rule without its reason."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall, ruleset, source_changes, without_sources

CONFIG = NodeConfig(
    cluster_cidrs=("10.42.0.0/16", "fd42::/48"), overlay_sources=frozenset({"198.18.0.2", "fd00::2"})
)
BASE = Firewall(CONFIG, IPv4Network("10.42.1.0/24"))
addresses = st.frozensets(st.ip_addresses().map(str), max_size=6)


@given(addresses, addresses)
def test_peer_changes_touch_only_the_difference(held: frozenset[str], wanted: frozenset[str]) -> None:
    changes = source_changes(held, wanted)
    added = {address for change in changes if change.new for address in change.addresses}
    deleted = {address for change in changes if not change.new for address in change.addresses}
    assert (added, deleted) == (wanted - held, held - wanted)
    assert all(change.addresses for change in changes)
    assert all(
        (":" in address) == ("_v6" in change.name) for change in changes for address in change.addresses
    )


LISTING = """table inet quilt {
\tset cluster_v4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = { 10.42.0.0/16 }
\t}

\tset overlay_sources_v4 {
\t\ttype ipv4_addr%s
\t}

\tset overlay_sources_v6 {
\t\ttype ipv6_addr%s
\t}
}
"""


def test_a_listing_is_separated_from_its_sources() -> None:
    four, six = (
        "\n\t\telements = { 198.18.0.2, 198.18.0.3,\n\t\t\t     198.18.0.4 }",
        "\n\t\telements = { ::ffff:1.2.3.4 }",
    )
    rest, sources = without_sources(LISTING % (four, six))
    assert rest == LISTING % ("", "")
    assert sources == {"198.18.0.2", "198.18.0.3", "198.18.0.4", "::ffff:102:304"}
    assert without_sources(rest) == (rest, frozenset())


def test_what_others_hang_on_an_element_shows() -> None:
    _, sources = without_sources(LISTING % ("\n\t\telements = { 198.18.0.2 timeout 5s }", ""))
    assert sources == {"198.18.0.2 timeout 5s"}


def text_of(**settings: Any) -> str:
    return "".join(ruleset(replace(BASE, config=replace(CONFIG, **settings))))


def test_every_rule_about_the_overlay_looks_at_its_vni() -> None:
    rules = [line for line in text_of(vni=200).splitlines() if "udp dport 4789" in line]
    assert len(rules) == 6, "from pods, out, forwarded, in; and in the first two steps untracked"
    assert all("udp dport 4789 @th,96,24 200 " in rule for rule in rules)


def test_settings_can_be_read_by_a_release_that_knows_no_vni() -> None:
    config = NodeConfig(vni=200)
    first, later = config.documents().values()
    assert "vni" not in first
    assert NodeConfig.from_document({**first, **later}) == config
    assert NodeConfig.from_document(first).vni == 100


@pytest.mark.parametrize("name", ['a"', "a*", "a\\"])
def test_a_device_name_cannot_mean_more_than_itself(name: str) -> None:
    config, refused = NodeConfig().merged(
        cluster_cidrs=(),
        mtu=0,
        vxlan_interface=name,
        vxlan_port=0,
        overlay_sources=(),
        prefix_length=0,
    )
    assert config == NodeConfig()
    assert refused == [f"Invalid interface name {name!r}"]


def test_nothing_is_masqueraded_without_a_subnet() -> None:
    assert "goto leaving" not in "".join(ruleset(replace(BASE, subnet=None)))


def test_pods_keep_their_addresses_where_masquerading_is_off() -> None:
    text = text_of(masquerade=False)
    assert "ip saddr 10.42.1.0/24 ip daddr != @cluster_v4 goto leaving" in text_of()
    assert "ip saddr 10.42.1.0/24 ip daddr != @cluster_v4 goto leaving" not in text
    # The host's own packets into the overlay are answered through it either way.
    assert 'oifname "vxlan100" ip saddr != @cluster_v4 fib saddr type local goto leaving' in text


def test_masquerading_never_picks_the_overlay_port() -> None:
    assert ":16384-65535" in text_of()
    assert ":1024-19999" in text_of(vxlan_port=20000)

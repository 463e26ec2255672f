"""What `spec.underlay` means on a host: which address, or why none; and whose word is believed."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.underlay import OnHost, believed, could_mean, meaning, usable
from quilt_crds.wire_network import UnderlaySpec


def host(**interfaces: str) -> list[OnHost]:
    """A host whose interfaces have these addresses, between blanks."""
    return [
        OnHost(name, ip_interface(address)) for name, texts in interfaces.items() for address in texts.split()
    ]


TWO = host(eth0="198.18.0.1/24", eth1="10.0.0.5/24 2001:db8::5/64", bond0="172.16.0.9/12")


@pytest.mark.parametrize(
    ("interface", "cidrs", "ip"),
    [
        ("eth1", (), "10.0.0.5"),
        ("eth0", (), "198.18.0.1"),
        ("bond*", (), "172.16.0.9"),
        ("eth9,bond?", (), "172.16.0.9"),
        ("eth1,eth0", (), "10.0.0.5"),
        ("", ("10.0.0.0/8",), "10.0.0.5"),
        ("", ("2001:db8::/32",), "2001:db8::5"),
        ("", ("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8"), "172.16.0.9"),
        ("eth1", ("0.0.0.0/0",), "10.0.0.5"),
        ("eth*", ("2001:db8::/32", "10.0.0.0/8"), "2001:db8::5"),
        ("eth1", ("198.18.0.0/15", "10.0.0.0/8"), "10.0.0.5"),
    ],
)
def test_the_first_network_in_which_the_first_interface_has_an_address_decides(
    interface: str, cidrs: tuple[str, ...], ip: str
) -> None:
    meant = meaning(UnderlaySpec(interface, cidrs), TWO, (), "")
    assert meant.found is not None
    assert meant.found.ip == ip
    assert could_mean(UnderlaySpec(interface, cidrs), meant.found)


@pytest.mark.parametrize(
    ("choice", "wish"),
    [
        (UnderlaySpec("eth9"), "underlay.interface eth9"),
        (UnderlaySpec("ETH1"), "underlay.interface ETH1"),
        (UnderlaySpec("", ("192.0.2.0/24", "fd00::/8")), "underlay.cidrs 192.0.2.0/24, fd00::/8"),
        (
            UnderlaySpec("eth0", ("10.0.0.0/8",)),
            "underlay.interface eth0 and underlay.cidrs 10.0.0.0/8",
        ),
    ],
)
def test_where_nothing_fits_the_text_says_what_was_wished_and_what_there_is(
    choice: UnderlaySpec, wish: str
) -> None:
    has = "198.18.0.1 (eth0), 10.0.0.5 (eth1), 2001:db8::5 (eth1), 172.16.0.9 (bond0)"
    meant = meaning(choice, TWO, ("198.18.0.1",), "198.18.0.1")
    assert meant.found is None
    assert meant.text == f"No address of this host fits {wish}; it has {has}."
    assert not any(could_mean(choice, item) for item in TWO)


def test_an_ipv6_network_on_a_host_with_ipv4_alone_fits_nothing() -> None:
    meant = meaning(UnderlaySpec("", ("2001:db8::/32",)), host(eth0="198.18.0.1/24"), (), "")
    assert meant.text == (
        "No address of this host fits underlay.cidrs 2001:db8::/32; it has 198.18.0.1 (eth0)."
    )
    assert meaning(UnderlaySpec("eth0"), [], (), "").text.endswith("it has none.")


SEVERAL = host(eth0="10.0.0.5/24 10.0.0.100/32", eth1="10.0.0.6/24")


@pytest.mark.parametrize(
    ("addresses", "internal_ips", "held", "ip"),
    [
        (SEVERAL, ("10.0.0.6",), "10.0.0.5", "10.0.0.6"),
        (SEVERAL, (), "10.0.0.5", "10.0.0.5"),
        (SEVERAL, ("198.18.0.1",), "10.0.0.6", "10.0.0.6"),
        (SEVERAL[:2], (), "", "10.0.0.5"),
        (SEVERAL[:2], (), "10.0.0.100", "10.0.0.5"),
        (host(eth0="10.0.0.5/32"), (), "", "10.0.0.5"),
        (host(eth0="10.0.0.5/24", dummy0="10.0.0.5/32"), (), "", "10.0.0.5"),
    ],
)
def test_of_several_the_nodes_own_counts_and_then_what_peers_know(
    addresses: list[OnHost], internal_ips: tuple[str, ...], held: str, ip: str
) -> None:
    meant = meaning(UnderlaySpec("", ("10.0.0.0/8",)), addresses, internal_ips, held)
    assert meant.found is not None
    assert meant.found.ip == ip


@pytest.mark.parametrize("held", ["", "10.0.0.100", "198.18.0.1"])
def test_between_several_others_nobody_guesses(held: str) -> None:
    meant = meaning(UnderlaySpec("", ("10.0.0.0/8",)), SEVERAL, (), held)
    assert meant.found is None
    assert meant.text == (
        "Several addresses of this host fit underlay.cidrs 10.0.0.0/8: "
        "10.0.0.5 (eth0), 10.0.0.100 (eth0), 10.0.0.6 (eth1)."
    )


def test_of_many_addresses_a_few_are_shown() -> None:
    many = host(eth0=" ".join(f"10.0.0.{number}/24" for number in range(1, 12)))
    text = meaning(UnderlaySpec("eth1"), many, (), "").text
    assert "10.0.0.8 (eth0) and others." in text
    assert "10.0.0.9" not in text


def test_no_peer_reaches_an_address_of_the_link_the_host_or_its_pods() -> None:
    found = host(
        lo="127.0.0.1/8 ::1/128 198.18.9.1/32",
        eth0="169.254.3.4/16 fe80::1/64 198.18.0.1/24",
        quilt0="10.42.1.1/24 fd42:0:0:1::1/64",
    )
    assert [item.ip for item in usable(found, ("10.42.0.0/16", "fd42::/48"))] == ["198.18.9.1", "198.18.0.1"]


@pytest.mark.parametrize(
    ("interface", "cidrs", "inside", "outside"),
    [
        ("", (), (), ("192.0.2.1", "2001:db8::1")),
        ("eth1", (), ("192.0.2.1", "2001:db8::1"), ()),
        ("", ("192.0.2.0/24",), ("192.0.2.1",), ("198.51.100.1", "2001:db8::1")),
        ("eth1", ("2001:db8::/32",), ("2001:db8::1",), ("192.0.2.1",)),
    ],
)
def test_an_agent_is_believed_in_what_was_chosen(
    interface: str, cidrs: tuple[str, ...], inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    trusted = believed(interface, cidrs)
    for address in (*inside, *outside):
        assert any(ip_address(address) in network for network in trusted) is (address in inside)


names = st.sampled_from(["eth0", "eth1", "bond0", "lo"])
v4 = st.builds(
    "{}.{}/{}".format,
    st.sampled_from(["10.0.0", "10.0.1", "192.0.2"]),
    st.integers(1, 2),
    st.sampled_from([24, 32]),
)
texts = v4 | st.sampled_from(["2001:db8::1/64", "2001:db8::2/128"])
hosts = st.lists(st.builds(OnHost, names, texts.map(ip_interface)), max_size=6, unique=True)
networks = st.sampled_from(["10.0.0.0/24", "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"])
choices = st.builds(
    UnderlaySpec,
    st.sampled_from(["", "eth0", "eth*", "bond?,eth1", "*"]),
    st.lists(networks, max_size=3, unique=True).map(tuple),
)
ips = st.sampled_from(["", "10.0.0.1", "10.0.0.2", "192.0.2.1", "2001:db8::1", "203.0.113.9"])


@given(choices, hosts, st.lists(ips, max_size=2), ips)
def test_what_is_chosen_is_on_the_host_fits_and_is_believed(
    choice: UnderlaySpec, addresses: list[OnHost], internal_ips: list[str], held: str
) -> None:
    meant = meaning(choice, addresses, internal_ips, held)
    fitting = [item for item in addresses if could_mean(choice, item)]
    if meant.found is None:
        assert len({item.ip for item in fitting}) != 1, "one that fits alone is no guess"
        named = [item for item in fitting or addresses if f"{item.ip} ({item.interface})" in meant.text]
        assert named or not addresses
    else:
        assert meant.found in fitting
        if choice.given:
            trusted = believed(choice.interface, choice.cidrs)
            assert any(meant.found.address.ip in network for network in trusted)


@given(choices, hosts, st.lists(ips, max_size=2), ips)
def test_the_order_of_a_hosts_addresses_does_not_matter(
    choice: UnderlaySpec, addresses: list[OnHost], internal_ips: list[str], held: str
) -> None:
    def ip(items: list[OnHost]) -> str:
        found = meaning(choice, items, internal_ips, held).found
        return found.ip if found else ""

    shuffled = sorted(addresses, key=lambda item: (str(item.address)[::-1], item.interface))
    assert ip(addresses) == ip(shuffled) == ip(addresses[::-1])


@given(choices, hosts, st.lists(ips, max_size=2), ips)
def test_a_node_stays_with_the_address_that_peers_use(
    choice: UnderlaySpec, addresses: list[OnHost], internal_ips: list[str], held: str
) -> None:
    first = meaning(choice, addresses, internal_ips, held).found
    if first is not None:
        assert meaning(choice, addresses, internal_ips, first.ip).found == first


@given(choices, hosts, st.lists(ips, max_size=2), st.builds(OnHost, names, texts.map(ip_interface)))
def test_an_address_that_does_not_fit_changes_nothing(
    choice: UnderlaySpec, addresses: list[OnHost], internal_ips: list[str], other: OnHost
) -> None:
    if not could_mean(choice, other):
        before = meaning(choice, addresses, internal_ips, "").found
        assert meaning(choice, [*addresses, other], internal_ips, "").found == before

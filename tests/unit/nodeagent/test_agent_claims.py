"""Which claims can be used: the ipaddress module decides, however they are read."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import UP
from quilt_nodeagent.core.peer import make_peer

addresses = st.one_of(st.ip_addresses().map(str), st.text("0123456789.:% a\0", max_size=20))
networks = st.builds(
    lambda address, length: str(ip_network((address, min(length, address.max_prefixlen)), strict=False)),
    st.ip_addresses(),
    st.integers(0, 128),
)
lengths = st.one_of(st.integers(-1, 130).map(str), st.text("0123456789.-+ ", max_size=4))
cidrs = st.one_of(networks, st.builds("{}/{}".format, addresses, lengths), addresses)


@given(cidrs)
def test_a_canonical_subnet_is_named_by_its_first_address(cidr: str) -> None:
    try:
        network = ip_network(cidr)
        right = str(network) == cidr
    except ValueError:
        right = False
    if right:
        assert make_peer("default", cidr, "a", UP, "").vtep == str(network.network_address)
    else:
        with pytest.raises(ValueError, match=r".+"):
            make_peer("default", cidr, "a", UP, "")


@given(addresses)
def test_a_host_address_is_an_address(host: str) -> None:
    try:
        right = not host or bool(ip_address(host))
    except ValueError:
        right = False
    if right:
        assert make_peer("default", "10.42.2.0/24", "a", UP, host).host_ip == host
    else:
        with pytest.raises(ValueError, match=r".+"):
            make_peer("default", "10.42.2.0/24", "a", UP, host)

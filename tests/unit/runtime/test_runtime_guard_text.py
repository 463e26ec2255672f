"""Who may send as whom: keys and changes of the guard's sets, the runtime's names, MACs that are believed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_runtime.core import guard
from quilt_runtime.core.guard import Port
from quilt_runtime.core.ipam import veth_name
from quilt_runtime.core.nftables import changes

SUBNET = IPv4Network("10.42.1.0/24")
NUMBERS = st.integers(2, 12)
MACS = st.sampled_from(["", "02:00:5e:10:00:07", "02:00:5e:10:00:08"])


def port(number: int, mac: str = "", *, twin: bool = True) -> Port:
    address = SUBNET[number]
    own6 = IPv6Address("fd42::") + number if twin else None
    return Port(veth_name(address), mac or guard.pod_mac(address), address, own6)


PORTS = st.lists(st.builds(port, NUMBERS, MACS, twin=st.booleans()), unique_by=lambda made: made.interface)


@given(PORTS, PORTS)
def test_changes_lead_from_any_ports_to_any_others_and_take_nothing_that_stays(
    old: list[Port], new: list[Port]
) -> None:
    before, after = (guard.keys({made.interface: made for made in ports}) for ports in (old, new))
    held = {name: set(keys) for name, keys in before.items()}
    for change in changes(before, after):
        keys = {key for key in change.addresses if isinstance(key, bytes)}
        assert keys
        held[change.name] = held[change.name] | keys if change.new else held[change.name] - keys
        for name in guard.SETS:
            assert held[name] >= before[name] & after[name]
    assert held == after
    assert changes(after, after) == []


@given(st.integers(16, 28), st.integers(0, 2**16 - 1))
def test_every_pods_interface_is_within_the_pattern(length: int, number: int) -> None:
    subnet = IPv4Network((int(IPv4Address("10.42.0.0")) + number, length), strict=False)
    prefix = guard.interfaces(subnet).removesuffix("*")
    assert all(veth_name(address).startswith(prefix) for address in (subnet[1], subnet[-2]))


def test_other_programs_interfaces_are_outside_the_pattern() -> None:
    prefix = guard.interfaces(SUBNET).removesuffix("*")
    assert not any(name.startswith(prefix) for name in ("qvb0a2a01-77", "qvo12345678-9a", "veth0a2a0105"))


@pytest.mark.parametrize(
    ("reported", "believed"),
    [
        (None, "0a:58:0a:2a:01:05"),
        ("0a:58:0a:2a:01:05", "0a:58:0a:2a:01:05"),
        ("02:00:5e:10:00:07", "02:00:5e:10:00:07"),
        # Another pod's, the bridge's, a group's: nobody becomes that over a restart.
        ("0a:58:0a:2a:01:06", "0a:58:0a:2a:01:05"),
        ("02:71:0a:2a:01:01", "0a:58:0a:2a:01:05"),
        ("01:00:5e:00:00:01", "0a:58:0a:2a:01:05"),
    ],
)
def test_a_running_pods_mac_is_the_kernels_unless_it_is_anothers(reported: str | None, believed: str) -> None:
    assert guard.learned(reported, SUBNET[5], SUBNET) == believed


def test_link_local_addresses_follow_from_macs() -> None:
    assert port(5).link_local == "fe80::858:aff:fe2a:105"
    assert port(5, "02:00:5e:10:00:07").link_local == "fe80::5eff:fe10:7"

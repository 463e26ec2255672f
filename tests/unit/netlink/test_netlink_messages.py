"""Our tables, messages and readers agree with pyroute2's, which stays out of the running programs."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import (
    Address,
    Create,
    Delete,
    Link,
    Put,
    Rule,
    Snooping,
    Unreachable,
    Vxlan,
    decode,
    links,
    schema,
    tables,
    writes,
)
from quilt_netlink.shapes import BE16, HOPS, IP, MAC, S32, TEXT, U8, U32, U64, ByKind, Kind, Shape
from tests.support import netlink_reference as reference

KINDS = ("ifinfmsg", "ifaddrmsg", "ndmsg", "nhmsg", "rtmsg", "fibmsg")
TYPES: dict[Any, set[str]] = {
    U8: {"uint8"},
    U32: {"uint32", "netns_fd"},
    U64: {"uint64"},
    S32: {"int32"},
    HOPS: {"*get_nh"},
    BE16: {"be16"},
    TEXT: {"asciiz"},
    MAC: {"l2addr", "lladdr"},
    IP: {"ipaddr", "target", "ip4addr", "ip6addr"},
}


def inner(where: Any, name: str, kind: str) -> Any:
    """pyroute2's class for the attributes within one of quilt_netlink's."""
    special = {
        "IFLA_LINKINFO": lambda: where.ifinfo,
        "IFLA_AF_SPEC": lambda: where.af_spec_inet,
        "AF_INET6": lambda: where.inet6,
        "VETH_INFO_PEER": lambda: reference.ifinfmsg,
        "IFLA_INFO_DATA": lambda: where.data_map[kind],
        "IFLA_INFO_SLAVE_DATA": lambda: where.bridge_slave_data,
    }
    return special[name]()


def lines(table: Shape, where: Any) -> Iterator[tuple[str, int, Any, int, str]]:
    """Every attribute of a table and of those within it, beside pyroute2's number and type."""
    numbered = [(number, *entry)[-3:] for number, entry in enumerate(where.nla_map)]
    theirs = {name: (number, kind) for number, name, kind in numbered}
    for name, (number, kind) in table.attrs.items():
        yield name, number, kind, *theirs[name]
        nested = kind.kinds if isinstance(kind, ByKind) else {"": kind} if isinstance(kind, Shape) else {}
        for decided, part in nested.items():
            yield from lines(part, inner(where, name, decided))


@pytest.mark.parametrize("name", KINDS)
def test_every_number_and_type_is_pyroute2s(name: str) -> None:
    own: Shape = getattr(schema, name)
    theirs = getattr(reference, name)
    assert own.names == tuple(field for field, code in theirs.fields if "x" not in code)
    assert own.fixed.size == struct.calcsize("=" + "".join(code for _, code in theirs.fields))
    compared = list(lines(own, theirs))
    assert compared
    for attribute, number, kind, their_number, their_type in compared:
        assert number == their_number, attribute
        if not isinstance(kind, Shape | ByKind):
            assert their_type in TYPES[kind], attribute


macs = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))
names = st.text("abcdefghijklmnop0123456789-", min_size=1, max_size=15)
words = st.integers(1, 0x7FFFFFFF)
flags = st.none() | st.booleans()
vxlans = st.builds(
    Vxlan,
    st.integers(1, 1 << 23),
    st.integers(1, 65535),
    st.sampled_from(["", "198.18.0.1", "fd00::1"]),
    st.booleans(),
    words,
)
peers = st.builds(Link, names, mac=macs, mtu=words, up=st.booleans(), netns_fd=st.none() | words)


@st.composite
def made_links(draw: st.DrawFn) -> Link:
    kind = draw(st.sampled_from(["vxlan", "bridge", "veth"]))
    return Link(
        draw(names),
        kind,
        mac=draw(st.just("") | macs),
        mtu=draw(st.just(0) | words),
        up=draw(st.booleans()),
        master=draw(st.just(0) | words),
        addrgenmode=draw(st.none() | st.just(1)),
        vxlan=draw(vxlans) if kind == "vxlan" else None,
        hairpin=draw(flags),
        peer=draw(peers) if kind == "veth" else None,
    )


def written_by_both(written: Any) -> tuple[list[bytes], list[bytes]]:
    """What we write, and what pyroute2 writes of the same names and values."""
    own = written()
    theirs = {getattr(schema, name): getattr(reference, name) for name in KINDS}

    def encode(kind: Kind, what: int, fields: Any, attrs: Any = (), flags: int = 0, seq: int = 0) -> bytes:
        return reference.encode(theirs[kind], kind.base + what, flags | 1, fields, list(attrs), seq)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kind, "encode", encode)
        return own, written()


@given(made_links(), made_links())
def test_link_messages_are_pyroute2s(link: Link, now: Link) -> None:
    def written() -> list[bytes]:
        return [
            links.create(link),
            *links.change(link, replace(now, index=7)),
            links.get(link.name),
            links.get(7),
            links.delete(7),
        ]

    own, theirs = written_by_both(written)
    assert own == theirs


@given(
    st.builds(Address, words, st.sampled_from(["10.42.1.1/24", "10.42.1.0", "fd42::1/64"]), st.booleans())
    | st.builds(Unreachable, st.sampled_from(["10.42.0.0/16", "fd42::/48"]), st.just(81), words, words),
    st.sampled_from([Create, Put, Delete]),
    words,
)
def test_messages_about_addresses_and_unreachable_prefixes_are_pyroute2s(
    entry: Address | Unreachable, verb: Any, seq: int
) -> None:
    own, theirs = written_by_both(lambda: [writes.ENCODERS[type(entry)](verb, entry, seq)])
    assert own == theirs


@given(st.sampled_from([*tables.TABLES]), st.sampled_from([0, 7]), st.sampled_from([0, 81]))
def test_questions_about_tables_are_pyroute2s(kind: Any, index: int, protocol: int) -> None:
    own, theirs = written_by_both(lambda: tables.TABLES[kind].requests(tables.Narrow(index, protocol, 254)))
    assert own == theirs


@given(
    st.sampled_from(
        [Rule(7, 1, source="10.42.1.5"), Rule(0x1000, 1, source="fd42::5"), Rule(9, 2, interface="q0")]
    )
)
def test_rules_are_pyroute2s(rule: Rule) -> None:
    own, theirs = written_by_both(
        lambda: [writes.ENCODERS[type(rule)](verb, rule, 0) for verb in (Create, Delete)]
    )
    assert own == theirs


@given(words, st.builds(Snooping, querier=st.sampled_from([0, 1])), names)
def test_settings_of_bridges_and_ports_are_pyroute2s(index: int, wanted: Snooping, name: str) -> None:
    def written() -> list[bytes]:
        port = links.set_port(index, {links.FAST_LEAVE: 1, links.MAX_GROUPS: 1})
        peer = links.get_peer({"IFLA_LINK": index, "IFLA_LINK_NETNSID": 3})
        return [*links.set_snooping(index, wanted), port, links.set_alias(name, "a/b"), peer or b""]

    own, theirs = written_by_both(written)
    assert own == theirs


@given(made_links())
def test_a_link_is_read_as_it_was_written(link: Link) -> None:
    message = decode.message(memoryview(links.create(link)))
    assert message is not None
    read = decode.link(message)
    assert (read.name, read.kind, read.mac, read.mtu, read.master) == (
        link.name,
        link.kind,
        link.mac,
        link.mtu,
        link.master,
    )
    info = message["IFLA_LINKINFO"]
    assert (message["IFLA_IFNAME"], info["IFLA_INFO_KIND"]) == (link.name, link.kind)
    if link.vxlan:
        assert read.vxlan == link.vxlan
        assert info["IFLA_INFO_DATA"]["IFLA_VXLAN_PORT"] == link.vxlan.port


@given(st.binary(max_size=200), st.sampled_from([*schema.READ]))
def test_garbage_is_read_as_nothing(data: bytes, kind: int) -> None:
    header = struct.pack("=IHHII", 16 + len(data), kind, 0, 0, 0)
    decode.message(memoryview(header + data))
    body = bytes(schema.READ[kind].fixed.size)
    assert decode.message(memoryview(header + body + data)) is not None


def test_nothing_of_pyroute2_is_imported_at_run_time() -> None:
    program = (
        "import sys, quilt_netlink; "
        "sys.exit(any(m.startswith(('pyroute2', 'quilt_netlink.fake')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""Our tables, messages and readers agree with pyroute2's, which stays out of the running programs."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import (
    Address,
    Link,
    Vxlan,
    decode,
    links,
    messages,
    reference,
    schema,
)
from quilt_netlink.schema import BE16, IP, MAC, TEXT, U8, U16, U32, U64, Attrs, ByKind, Nested, Schema

KINDS = ("ifinfmsg", "ifaddrmsg", "ndmsg", "nhmsg", "rtmsg")
TYPES: dict[Any, set[str]] = {
    U8: {"uint8"},
    U16: {"uint16"},
    U32: {"uint32", "netns_fd"},
    U64: {"uint64"},
    BE16: {"be16"},
    TEXT: {"asciiz"},
    MAC: {"l2addr", "lladdr"},
    IP: {"ipaddr", "target", "ip4addr", "ip6addr"},
}


def inner(where: Any, name: str, kind: str) -> Any:
    """pyroute2's class for the attributes within one of ours."""
    special = {
        "IFLA_LINKINFO": lambda: where.ifinfo,
        "IFLA_AF_SPEC": lambda: where.af_spec_inet,
        "AF_INET6": lambda: where.inet6,
        "VETH_INFO_PEER": lambda: reference.ifinfmsg,
        "IFLA_INFO_DATA": lambda: where.data_map[kind],
        "IFLA_INFO_SLAVE_DATA": lambda: where.bridge_slave_data,
    }
    return special[name]()


def lines(table: Attrs, where: Any) -> Iterator[tuple[str, int, Any, int, str]]:
    """Every attribute of a table and of those within it, beside pyroute2's number and type."""
    theirs = {entry[0]: (number, entry[1]) for number, entry in enumerate(where.nla_map)}
    for name, (number, kind) in table.items():
        yield name, number, kind, *theirs[name]
        nested = kind.kinds if isinstance(kind, ByKind) else {"": kind} if isinstance(kind, Nested) else {}
        for decided, part in nested.items():
            yield from lines(part.attrs, inner(where, name, decided))


@pytest.mark.parametrize("name", KINDS)
def test_every_number_and_type_is_pyroute2s(name: str) -> None:
    ours: Schema = getattr(schema, name)
    theirs = getattr(reference, name)
    assert ours.names == tuple(field for field, code in theirs.fields if "x" not in code)
    assert ours.fixed.size == struct.calcsize("=" + "".join(code for _, code in theirs.fields))
    compared = list(lines(ours.attrs, theirs))
    assert compared
    for attribute, number, kind, their_number, their_type in compared:
        assert number == their_number, attribute
        if not isinstance(kind, Nested | ByKind):
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


def by_pyroute2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "encode", reference.encode)
    for name in ("ifinfmsg", "ifaddrmsg"):
        monkeypatch.setattr(links, name, getattr(reference, name))


@given(made_links(), made_links())
def test_link_messages_are_pyroute2s(link: Link, now: Link) -> None:
    def written() -> list[bytes]:
        return [
            links.create(link),
            *links.change(7, link, now),
            links.get(link.name),
            links.get(7),
            links.delete(7),
        ]

    ours = written()
    with pytest.MonkeyPatch.context() as patch:
        by_pyroute2(patch)
        assert written() == ours


@given(st.sampled_from(["10.42.1.1/24", "10.42.1.0", "fd42::1/64"]), words, st.booleans())
def test_address_messages_are_pyroute2s(text: str, index: int, plain: bool) -> None:
    def written() -> list[bytes]:
        entry = Address(index, text, plain)
        return [links.address_write(entry, 20, 0x401), links.addresses_get(index)]

    ours = written()
    with pytest.MonkeyPatch.context() as patch:
        by_pyroute2(patch)
        assert written() == ours


@given(made_links())
def test_a_link_is_read_as_it_was_written(link: Link) -> None:
    data = links.create(link)
    read = decode.link(memoryview(data), 0, len(data))
    assert (read.name, read.kind, read.mac, read.mtu, read.master) == (
        link.name,
        link.kind,
        link.mac,
        link.mtu,
        link.master,
    )
    message = messages.decode(schema.ifinfmsg, data)
    info = message.get_attr("IFLA_LINKINFO")
    assert (message.get_attr("IFLA_IFNAME"), info.get_attr("IFLA_INFO_KIND")) == (link.name, link.kind)
    if link.vxlan:
        assert read.vxlan == link.vxlan
        assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VXLAN_PORT") == link.vxlan.port


@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_garbage_is_read_as_nothing(data: bytes, name: str) -> None:
    kind: Schema = getattr(schema, name)
    messages.decode(kind, bytes(16 + kind.fixed.size) + data).get_attr("IFLA_LINKINFO")


def test_nothing_of_pyroute2_is_imported_at_run_time() -> None:
    program = (
        "import sys, quilt_netlink; "
        "sys.exit(any(m.startswith(('pyroute2', 'quilt_netlink.fake')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""RPF: tables and answers, providers disabled and static, and serving the mesh's routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_nodeagent.core.peer import make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_pim.core.rpf import RpfInfo, StaticRoutes, mesh_route
from quilt_pim.core.rpf_wire import InvalidAnswerError, parse_answer
from quilt_pim.rpf_provider import TtlCache
from tests.support.control_doubles import Client, Running, serving

ETH0 = RpfInfo("eth0", "10.0.0.1", 10)
WIRE = {"upstream_interface": "eth0", "upstream_neighbor": "10.0.0.1", "metric": 10}


def mesh_of(own: str, *peers: str) -> PeerTable:
    """Claims of a node and of others, all Up."""
    table = PeerTable("node-0", "vxlan100")
    subnets = enumerate((own, *peers))
    table.replace(make_peer("default", cidr, f"node-{n}", "Up", f"198.18.0.{n + 1}") for n, cidr in subnets)
    return table


class TestTables:
    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), st.integers(), min_size=1, max_size=30
        ),
        st.integers(0, 2**32 - 1),
    )
    def test_the_longest_prefix_matches_whatever_the_table(
        self, entries: dict[tuple[int, int], int], wanted: int
    ) -> None:
        table, held = StaticRoutes(), {}
        for (address, length), value in entries.items():
            network = ip_network((address, length), strict=False)
            table.add(network, RpfInfo("eth0", None, value))
            held[network] = RpfInfo("eth0", None, value)
        address = ip_address(wanted)
        matching = [network for network in held if address in network]
        longest = max(matching, key=lambda network: network.prefixlen, default=None)
        assert table.lookup(str(address)) == (held[longest] if longest else None)
        assert dict(table) == held
        for network in held:
            table.remove(network)
        assert len(table) == 0
        assert table.lookup(str(address)) is None

    def test_of_several_ways_the_lowest_metric_wins_then_the_newest(self) -> None:
        table, source = StaticRoutes(), ip_network("10.1.0.0/16")
        table.add(source, RpfInfo("eth0", None, 20))
        table.add(source, RpfInfo("eth1", None, 10))
        assert table.lookup("10.1.2.3") == RpfInfo("eth1", None, 10)
        table.add(source, RpfInfo("eth2", None, 10))
        assert table.lookup("10.1.2.3") == RpfInfo("eth2", None, 10)
        table.add(source, RpfInfo("eth2", None, 30))  # The same way again: replaced.
        assert (table.lookup("10.1.2.3"), len(table)) == (RpfInfo("eth1", None, 10), 3)
        assert table.remove(source, "eth1") == 1
        assert table.lookup("10.1.2.3") == RpfInfo("eth0", None, 20)
        assert table.remove(source) == 2
        assert (table.lookup("10.1.2.3"), len(table)) == (None, 0)

    def test_the_mesh_knows_its_own_subnets_its_peers_and_nothing_else(self) -> None:
        table = mesh_of("10.42.1.0/24", "10.42.2.0/24", "fd42:2::/64")
        lookup = partial(mesh_route, table)
        assert lookup("10.42.1.7") == RpfInfo("quilt0", None, 0)
        assert lookup("10.42.2.7") == RpfInfo("vxlan100", "10.42.2.0", 1)
        assert lookup("fd42:2::7") == RpfInfo("vxlan100", "fd42:2::", 1)
        assert lookup("10.42.3.7") is None
        table.replace(mesh_of("10.42.1.0/24", "10.42.3.0/25").claims())
        assert lookup("10.42.2.7") is None
        assert lookup("10.42.3.7") == RpfInfo("vxlan100", "10.42.3.0", 1)
        assert lookup("10.42.3.129") is None
        table.follow(replace(table.way, device="vxlan7"))
        assert lookup("10.42.3.7") == RpfInfo("vxlan7", "10.42.3.0", 1)

    def test_the_cache_hits_misses_and_expires(self) -> None:
        cache: TtlCache[int] = TtlCache(30.0, capacity=2)
        assert cache.get("a", 0.0) is None
        cache.put("a", 1, 0.0)
        assert cache.get("a", 29.9) == 1
        assert cache.get("a", 30.0) is None
        for key, now in (("b", 1.0), ("c", 2.0), ("d", 3.0)):
            cache.put(key, 2, now)
        assert (cache.get("b", 4.0), cache.get("d", 4.0), len(cache)) == (None, 2, 2)
        off: TtlCache[int] = TtlCache(0)
        off.put("a", 1, 0.0)
        assert off.get("a", 0.0) is None


class TestAnswers:
    @given(st.binary(max_size=200))
    def test_no_answer_makes_the_reader_fail_in_another_way(self, line: bytes) -> None:
        with contextlib.suppress(InvalidAnswerError):
            parse_answer(line)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["upstream_interface", "upstream_neighbor", "metric", "error", "x"]),
                    inner,
                )
            ),
            max_leaves=8,
        )
    )
    def test_whatever_json_comes(self, document: Any) -> None:
        try:
            answer = parse_answer(json.dumps(document).encode())
        except InvalidAnswerError:
            return
        assert isinstance(answer, str) or 0 < len(answer.upstream_interface) <= 15

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"[]",
            b"{}",
            b'{"upstream_interface":""}',
            b'{"upstream_interface":"eth0","upstream_neighbor":"nobody"}',
            b'{"upstream_interface":"eth0","metric":"low"}',
            b'{"upstream_interface":"eth0","metric":-1}',
            b'{"upstream_interface":"eth0","metric":true}',
            b'{"upstream_interface":"an interface"}',
            b"[" * 4000,
        ],
    )
    def test_invalid_ones(self, line: bytes) -> None:
        with pytest.raises(InvalidAnswerError):
            parse_answer(line)


async def test_disabled_is_the_default_and_lets_everything_pass(running: Running, client: Client) -> None:
    reply = await client.ok("GetRpfProvider")
    assert reply["provider"] == "disabled"
    reply = await client.ok("QueryRpf", source="10.1.0.5")
    assert (reply["rpf"], reply["reason"]) == (None, "RPF checks are disabled")
    assert (await running.plane.rpf.arrives("10.1.0.5", "anything")).passed


async def test_static_routes_by_the_api(running: Running, client: Client) -> None:
    assert (await client.ok("SetRpfProvider", provider="static"))["provider"] == "static"
    assert (await client.ok("AddRpfRoute", source="10.1.0.0/16", rpf=WIRE))["source"] == "10.1.0.0/16"
    await client.ok("AddRpfRoute", source="10.1.0.5", rpf={"upstream_interface": "eth1"})
    reply = await client.ok("QueryRpf", source="10.1.0.5")
    assert reply["rpf"] == {"upstream_interface": "eth1", "upstream_neighbor": None, "metric": None}
    assert (await client.ok("QueryRpf", source="10.1.0.6"))["rpf"] == WIRE
    reply = await client.ok("QueryRpf", source="10.2.0.1")
    assert (reply["rpf"], reply["reason"]) == (None, "no static RPF route holds 10.2.0.1")
    listed = (await client.ok("ListRpfRoutes"))["routes"]
    assert [route["source"] for route in listed] == ["10.1.0.0/16", "10.1.0.5/32"]
    assert listed[0]["rpf"] == WIRE
    assert (await client.ok("RemoveRpfRoute", source="10.1.0.5"))["removed"] == 1
    assert (await client.ok("QueryRpf", source="10.1.0.5"))["rpf"] == WIRE
    reply = await client.ok("GetRpfProvider")
    assert (reply["static_entries"], reply["queries"], reply["no_route"]) == (1, 4, 1)
    assert (await client.ok("ClearRpfRoutes"))["removed"] == 1
    assert (await client.ok("ListRpfRoutes"))["routes"] == []


async def test_static_checks_decide(running: Running, client: Client) -> None:
    await client.ok("SetRpfProvider", provider="static")
    await client.ok("AddRpfRoute", source="10.1.0.0/16", rpf=WIRE)
    assert (await running.plane.rpf.arrives("10.1.0.5", "eth0")).passed
    wrong = await running.plane.rpf.arrives("10.1.0.5", "eth1")
    assert (wrong.passed, wrong.reason) == (False, "10.1.0.5 is upstream on eth0, not on eth1")
    unknown = await running.plane.rpf.arrives("10.2.0.5", "eth0")
    assert (unknown.passed, unknown.reason) == (False, "no static RPF route holds 10.2.0.5")


async def test_errors_of_rpf_commands(client: Client, tmp_path: Path) -> None:
    assert "must be 'disabled', 'static' or the absolute path" in await client.refused(
        "SetRpfProvider", provider="run/rpf.sock"
    )
    assert "start the provider first" in await client.refused("SetRpfProvider", provider=str(tmp_path / "no"))
    assert "at most 107 bytes" in await client.refused("SetRpfProvider", provider="/" + "x" * 107)
    assert "is not an IP address" in await client.refused("QueryRpf", source="somewhere")
    assert "not the address of a source" in await client.refused("QueryRpf", source="239.1.1.1")
    assert "has host bits set" in await client.refused("AddRpfRoute", source="10.1.0.5/16", rpf=WIRE)
    assert "sources are unicast" in await client.refused("AddRpfRoute", source="239.0.0.0/8", rpf=WIRE)
    assert "'upstream' is not a field" in await client.refused(
        "AddRpfRoute", source="10.1.0.5", rpf={"upstream": "eth0"}
    )
    assert "a name is missing" in await client.refused("AddRpfRoute", source="10.1.0.5", rpf={})
    assert "out of range" in await client.refused(
        "AddRpfRoute", source="10.1.0.5", rpf={**WIRE, "metric": -1}
    )
    assert "There is no RPF route for 10.1.0.5/32" in await client.refused(
        "RemoveRpfRoute", source="10.1.0.5"
    )
    assert (await client.ok("GetRpfProvider"))["provider"] == "disabled"


async def ask_mesh(running: Running, message: bytes, *, end: bool = False) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(running.plane.config.rpf_sock)
    writer.write(message)
    if end:
        writer.write_eof()
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return json.loads(line)


async def test_the_meshs_routes_are_served(running: Running) -> None:
    table = mesh_of("10.42.1.0/24", "10.42.2.0/24")
    running.plane.upstream = partial(mesh_route, table)
    own = await ask_mesh(running, b'{"query":"rpf","source":"10.42.1.9"}\n')
    assert own == {"upstream_interface": "quilt0", "upstream_neighbor": None, "metric": 0}
    peer = await ask_mesh(running, b'{"query":"rpf","source":"10.42.2.9"}', end=True)
    assert peer == {"upstream_interface": "vxlan100", "upstream_neighbor": "10.42.2.0", "metric": 1}
    none = await ask_mesh(running, b'{"query":"rpf","source":"192.0.2.1"}\n')
    assert none == {"error": "no route: 192.0.2.1 is in no subnet of the mesh"}
    table.remove("10.42.2.0/24")
    assert "error" in await ask_mesh(running, b'{"query":"rpf","source":"10.42.2.9"}\n')


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"hello\n", "This is not JSON"),
        (b'{"query":"igp","source":"10.42.1.9"}\n', "'igp' is not known"),
        (b'{"query":"rpf"}\n', "an address is missing"),
        (b'{"query":"rpf","source":"x"}\n', "is not an IP address"),
        (b"x" * 5000, "at most 4096 bytes"),
    ],
)
async def test_the_mesh_says_what_is_wrong_with_a_query(running: Running, message: bytes, error: str) -> None:
    assert error in (await ask_mesh(running, message))["error"]


async def test_an_agent_can_be_the_provider_of_another(tmp_path: Path) -> None:
    """Both ends of the protocol are the same one: one control plane asks the other."""
    folder = tmp_path / "second"
    folder.mkdir()
    async with serving(tmp_path) as first, serving(folder) as second:
        first.plane.upstream = partial(mesh_route, mesh_of("10.42.1.0/24"))
        client = await second.client()
        await client.ok("SetRpfProvider", provider=first.plane.config.rpf_sock)
        reply = await client.ok("QueryRpf", source="10.42.1.9")
        assert reply["rpf"]["upstream_interface"] == "quilt0"
        reply = await client.ok("QueryRpf", source="10.43.1.9")
        assert (reply["rpf"], "no route" in reply["reason"]) == (None, True)

"""The control socket itself: its place and mode, who may talk, lines in and out, and errors of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quilt_multicast.view import GroupInfo, MulticastState, RouteInfo
from quilt_pim.core import validate
from quilt_pim.core.config import ControlConfig
from quilt_pim.core.requests import COMMANDS, MAX_LINE, read, request_id
from quilt_pim.core.validate import ControlError
from quilt_pim.unix import Credentials, allowed
from tests.support.control_doubles import Client, Running, serving

ROOT = os.geteuid() == 0


async def test_mode_and_place(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    async with serving(folder):
        for name in ("control.sock", "rpf.sock"):
            found = (folder / name).stat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o660
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sorted(path.name for path in folder.iterdir()) == ["control.sock", "rpf.sock"]
    assert list(folder.iterdir()) == []


async def test_a_successor_gets_the_path_and_the_predecessor_leaves_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as second_to_be:
        del second_to_be
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(serving(tmp_path))
            await (await first.client()).ok("GetConfig")
            await stack.pop_all().aclose()
        assert not (tmp_path / "control.sock").exists()
    async with serving(tmp_path) as third:
        await (await third.client()).ok("GetConfig")


def test_who_is_allowed() -> None:
    me = os.geteuid()
    assert allowed(Credentials(1, 0, frozenset((0,))), None)
    assert allowed(Credentials(1, me, frozenset()), None)
    assert not allowed(Credentials(1, 4242, frozenset((4242,))), None)
    assert not allowed(Credentials(1, 4242, frozenset((0,))), None)
    assert allowed(Credentials(1, 4242, frozenset((4242, 77))), 77)


def as_another_user(path: str, groups: str = "[]") -> dict[str, Any]:
    """Connect as uid 4242 and return what the server says."""
    program = (
        "import contextlib, os, socket, sys\n"
        "c = socket.socket(socket.AF_UNIX)\n"
        f"os.setgroups({groups}); os.setgid(4242); os.setuid(4242)\n"
        "c.connect(sys.argv[1])\n"
        # Who is refused may find the connection closed; what was sent is still there to be read.
        "with contextlib.suppress(BrokenPipeError):\n"
        ' c.sendall(b\'{"command":"GetRpfProvider"}\\n\')\n'
        "print(c.makefile().readline())\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, path], capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not ROOT, reason="becoming another user needs root")
async def test_peers_that_are_neither_root_nor_of_the_group_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)  # The test's own folders; in earnest 0700 keeps them out.
    async with serving(tmp_path, control_gid=7777) as running:
        assert (tmp_path / "control.sock").stat().st_gid == 7777
        (tmp_path / "control.sock").chmod(0o666)
        refused = await asyncio.to_thread(as_another_user, running.path)
        assert refused == {
            "success": False,
            "error": "uid 4242 may not use this socket; root or the configured group may",
        }
        assert running.plane.counters["peers_refused"] == 1
        member = await asyncio.to_thread(as_another_user, running.path, "[7777]")
        assert member["success"] is True


async def test_an_id_comes_back_and_replies_come_in_order(client: Client) -> None:
    for given_id in ("a", 1, 2.5, True, 0, ""):
        reply = await client.ask("GetRpfProvider", id=given_id)
        assert (reply["id"], reply["success"]) == (given_id, True)
    assert "id" not in await client.ask("GetRpfProvider")
    assert (await client.ask("Nonsense", id="x"))["id"] == "x"
    assert (await client.ask("QueryRpf", id="y", source="?"))["id"] == "y"
    assert "id: " in (await client.ask("GetRpfProvider", id=[1]))["error"]
    lines = b"".join(
        json.dumps({"command": "QueryRpf", "source": "10.0.0.1", "id": n}).encode() + b"\n" for n in range(50)
    )
    await client.send(lines)
    assert [(await client.reply())["id"] for _ in range(50)] == list(range(50))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello\n", "This is not JSON"),
        (b"\xff\xfe\n", "This is not JSON"),
        (b"[1]\n", "one JSON object"),
        (b"{}\n", "command: None is not known; known are AddExternalNeighbor"),
        (b'{"command":"addexternalneighbor"}\n', "is not known"),
        (b'{"command":{"Subscribe":1}}\n', "is not known"),
        (b'{"command":"GetConfig","extra":1}\n', "unknown field `extra`"),
        (b'{"command":"QueryRpf","source":5}\n', "Expected `str`, got `int`"),
        (b"[" * 30000 + b"\n", "This is not JSON"),
    ],
)
async def test_a_bad_line_is_answered_and_ends_nothing(client: Client, line: bytes, error: str) -> None:
    await client.send(line)
    reply = await client.reply()
    assert reply["success"] is False
    assert error in reply["error"]
    await client.ok("GetConfig")


async def test_empty_lines_are_skipped_and_a_last_line_needs_no_newline(client: Client) -> None:
    await client.send(b'\n\r\n  \n{"command":"GetRpfProvider","id":1}')
    client.writer.write_eof()
    assert (await client.reply())["id"] == 1
    assert await client.line() == {}


async def test_a_line_that_is_too_long_is_answered_and_ends_the_connection(client: Client) -> None:
    await client.send(b"x" * (2 * MAX_LINE))
    assert (await client.reply())["error"] == f"a request has at most {MAX_LINE} bytes"
    with contextlib.suppress(ConnectionError):
        assert await client.line() == {}


async def test_too_many_connections_are_answered_so(running: Running) -> None:
    clients = [await running.client() for _ in range(128)]
    await asyncio.gather(*(client.ok("GetRpfProvider") for client in clients))
    late = await running.client()
    assert (await late.line())["error"] == "there are 128 connections already"
    await clients[0].ok("GetRpfProvider")


async def test_a_failure_inside_is_answered_without_its_details(
    running: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("secret")

    monkeypatch.setattr(running.plane.rpf, "wire", broken)
    refused = await client.refused("GetRpfProvider")
    assert "its log has the reason" in refused
    assert "secret" not in refused
    await client.ok("GetConfig")


async def test_the_configuration_is_shown_as_it_runs(tmp_path: Path) -> None:
    async with serving(tmp_path, rpf_provider="static", event_buffer_size=17, rpf_cache_ttl=3) as running:
        client = await running.client()
        config = (await client.ok("GetConfig"))["config"]
        assert (config["rpf_provider"], config["event_buffer_size"], config["rpf_cache_ttl"]) == (
            "static",
            17,
            3,
        )
        assert config["external_neighbors_enabled"] is True
        await client.ok("SetRpfProvider", provider="disabled")
        reply = await client.ok("GetConfig")
        assert reply["config"]["rpf_provider"] == "disabled"
        assert reply["counters"]["requests"] == 3


class Dataplane(MulticastState):
    """What the dataplane shows."""

    def groups(self) -> list[GroupInfo]:
        return [GroupInfo("239.1.1.1", "quilt0", ("10.42.1.9",), ("node-b",))]

    def routes(self) -> list[RouteInfo]:
        return [RouteInfo("239.1.1.1", "10.42.1.9", "quilt0", ("vxlan100",), ("node-b",), packets=7)]


async def test_groups_and_routes_of_the_dataplane_are_shown(tmp_path: Path) -> None:
    async with serving(tmp_path, Dataplane()) as running:
        client = await running.client()
        [group] = (await client.ok("GetIgmpGroups"))["groups"]
        assert group == {
            "group": "239.1.1.1",
            "interface": "quilt0",
            "members": ["10.42.1.9"],
            "nodes": ["node-b"],
        }
        [route] = (await client.ok("GetMroute"))["routes"]
        assert (route["source"], route["output_interfaces"], route["packets"]) == (
            "10.42.1.9",
            ["vxlan100"],
            7,
        )


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("rpf_provider", "kernel", "must be 'disabled', 'static' or the absolute path"),
        ("rpf_provider", "", "must be 'disabled'"),
        ("event_buffer_size", 0, "1 to 65536"),
        ("event_buffer_size", 65537, "1 to 65536"),
        ("rpf_cache_ttl", -1, "0 to 86400"),
        ("rpf_cache_ttl", 86401, "0 to 86400"),
        ("event_rate", 0, "out of range"),
        ("pim_interfaces", ("eth 0",), "is not an interface name"),
        ("control_sock", "control.sock", "must be an absolute path"),
        ("rpf_sock", "/" + "x" * 200, "at most 107 bytes"),
        ("control_gid", -5, "out of range"),
    ],
)
def test_the_configuration_is_validated_before_anything_starts(setting: str, value: Any, error: str) -> None:
    with pytest.raises(ControlError, match=setting.removesuffix("s")) as caught:
        ControlConfig(**{setting: value})
    assert error in str(caught.value)


def test_good_configurations() -> None:
    assert ControlConfig().event_buffer_size == 256
    for size in (1, 65536):
        assert ControlConfig(event_buffer_size=size).event_buffer_size == size
    ControlConfig(rpf_provider="/run/babel/rpf.sock", rpf_cache_ttl=0, pim_interfaces=("eth1",))


class TestParsing:
    @given(st.binary(max_size=300))
    def test_no_line_fails_in_another_way(self, line: bytes) -> None:
        with contextlib.suppress(ControlError):
            read(request_id(line)[0])

    @settings(max_examples=300)
    @given(
        st.sampled_from(sorted(COMMANDS)),
        st.dictionaries(
            st.sampled_from(
                [
                    "address",
                    "interface",
                    "dr_priority",
                    "tag",
                    "neighbor",
                    "provider",
                    "source",
                    "rpf",
                    "events",
                    "subscription_id",
                    "group",
                    "rp",
                    "holdtime",
                    "passive",
                ]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from(["address", "interface", "upstream_interface"]), inner)
                ),
                max_leaves=4,
            ),
        ),
    )
    def test_whatever_fields_a_command_gets(self, command: str, fields: dict[str, Any]) -> None:
        line = json.dumps({"command": command, **fields}).encode()
        with contextlib.suppress(ControlError):
            name, request = read(request_id(line)[0])
            assert (name, type(request)) == (command, COMMANDS[command])
            for check in ("address", "prefix", "info", "types", "announcement"):
                method = getattr(request, check, None)
                if callable(method):
                    with contextlib.suppress(ControlError):
                        method()

    @given(st.text(max_size=40))
    def test_names_that_pass_are_names_that_the_kernel_accepts(self, text: str) -> None:
        try:
            name = validate.interface("interface", text)
        except ControlError:
            return
        assert 0 < len(name.encode()) <= 15
        assert not set(name) & set("/: \t\n\0")

"""`quiltctl multicast` against a control plane: each command, as table and JSON, and its errors."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quilt_cli.commands.multicast import multicast
from quilt_cli.core import multicast as shown
from quilt_multicast.view import GroupInfo, MulticastState, RouteInfo
from quilt_pim.core.events import PimRouteChange
from quilt_pim.core.neighbors import External
from quilt_pim.plane import ControlPlane
from tests.support.control_doubles import serving


class Dataplane(MulticastState):
    def groups(self) -> list[GroupInfo]:
        return [GroupInfo("239.1.1.1", "quilt0", ("veth7",), ("node-b", "node-c"))]

    def routes(self) -> list[RouteInfo]:
        return [
            RouteInfo("239.1.1.1", "10.42.1.9", "quilt0", ("vxlan100",), ("node-b",), packets=7, bytes=99)
        ]

    def counters(self) -> dict[str, int]:
        return {"flows": 1}


class Agent:
    """A control plane in a loop of its own; the command line blocks in the test's thread."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "control.sock")
        self.plane: ControlPlane
        self.loop = asyncio.new_event_loop()
        self._folder = folder
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        async with serving(self._folder, Dataplane()) as running:
            self.plane = running.plane
            self._ready.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.loop.close()

    def run(self, *command: str) -> Result:
        return CliRunner().invoke(multicast, ["--socket", self.path, *command], catch_exceptions=False)

    def table(self, *command: str) -> list[list[str]]:
        """Words of every line of a command that succeeds."""
        result = self.run(*command)
        assert result.exit_code == 0, result.output
        return [line.split() for line in result.stdout.splitlines()]

    def json(self, *command: str) -> Any:
        result = self.run(*command, "-o", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *command: str) -> str:
        result = self.run(*command)
        assert result.exit_code == 1, result.output
        again = self.run(*command, "-o", "json")
        assert (again.exit_code, set(json.loads(again.stdout))) == (1, {"error"})
        return result.stderr


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    made.start()
    yield made
    made.stop()


def test_neighbors(agent: Agent, multicast_interface: str) -> None:
    where = ("--address", "10.0.0.2", "--interface", multicast_interface)
    assert agent.table("external-neighbors") == [["no", "neighbors"]]
    assert agent.table("add-neighbor", *where, "--priority", "7", "--tag", "babel")[0][0] == "✓"
    head, row = agent.table("external-neighbors")
    assert head == ["INTERFACE", "ADDRESS", "PRIORITY", "DR", "SOURCE", "EXPIRES"]
    assert row == [multicast_interface, "10.0.0.2", "7", "yes", "External:babel", "never"]
    [found] = agent.json("external-neighbors")["neighbors"]
    assert found["source"] == {"External": {"tag": "babel"}}
    assert agent.table("neighbors")[-1] == [f"{multicast_interface}:", "designated", "router", "10.0.0.2"]
    assert agent.table("remove-neighbor", *where)[0][0] == "✓"
    assert "There is no neighbor" in agent.refused("remove-neighbor", *where)
    assert "has multicast off" in agent.refused("add-neighbor", "--address", "10.0.0.2", "--interface", "lo")
    agent.run("add-neighbor", *where)
    assert agent.json("clear-neighbors", "--interface", multicast_interface) == {"removed": 1}
    assert agent.json("clear-neighbors") == {"removed": 0}


def test_pim_on_interfaces(agent: Agent) -> None:
    assert "has multicast off" in agent.refused("enable-pim", "--interface", "lo", "--passive")
    assert "PIM is not enabled" in agent.refused("disable-pim", "--interface", "lo")


def test_rpf(agent: Agent) -> None:
    assert ["provider", "disabled"] in agent.table("get-rpf")
    assert agent.table("query-rpf", "--source", "10.1.0.5") == [["RPF", "checks", "are", "disabled"]]
    assert agent.json("set-rpf", "--provider", "static") == {"provider": "static"}
    assert agent.table("list-rpf-routes") == [["no", "static", "RPF", "routes"]]
    given = ("--interface", "eth1", "--neighbor", "10.0.0.1", "--metric", "5")
    assert agent.table("add-rpf-route", "--source", "10.1.0.0/16", *given)[0][:2] == ["✓", "10.1.0.0/16"]
    assert agent.table("list-rpf-routes")[1] == ["10.1.0.0/16", "eth1", "10.0.0.1", "5"]
    assert agent.table("query-rpf", "--source", "10.1.0.5")[1] == ["10.1.0.5", "eth1", "10.0.0.1", "5"]
    assert agent.json("query-rpf", "--source", "10.1.0.5")["rpf"]["upstream_interface"] == "eth1"
    assert agent.json("remove-rpf-route", "--source", "10.1.0.0/16")["removed"] == 1
    assert "There is no RPF route" in agent.refused("remove-rpf-route", "--source", "10.1.0.0/16")
    assert agent.json("clear-rpf-routes") == {"removed": 0}
    assert "must be 'disabled', 'static'" in agent.refused("set-rpf", "--provider", "kernel")
    assert "is not an IP address" in agent.refused("query-rpf", "--source", "x")
    assert "host bits" in agent.refused("add-rpf-route", "--source", "10.1.0.5/16", "--interface", "eth1")
    assert ["queries", "2"] in [row[:2] for row in agent.table("get-rpf")]


def test_groups_and_routes(agent: Agent) -> None:
    assert agent.table("groups") == [
        ["GROUP", "INTERFACE", "MEMBERS", "HERE", "NODES"],
        ["239.1.1.1", "quilt0", "veth7", "node-b,", "node-c"],
    ]
    assert agent.table("routes")[1] == ["10.42.1.9", "239.1.1.1", "quilt0", "vxlan100", "node-b", "mesh", "7"]
    assert agent.json("groups")["groups"][0]["nodes"] == ["node-b", "node-c"]
    assert agent.json("routes")["routes"][0]["bytes"] == 99


def test_config(agent: Agent) -> None:
    rows = agent.table("config")
    assert ["rpf_provider", "disabled"] in rows
    assert ["event_buffer_size", "256"] in rows
    assert ["external_neighbors_enabled", "true"] in rows
    assert ["flows", "1"] in rows
    assert agent.json("config")["config"]["rpf_cache_ttl"] == 30


@pytest.mark.parametrize("as_json", [False, True])
def test_events(agent: Agent, as_json: bool) -> None:
    def publish() -> None:
        if agent.plane.broadcast.waiting:
            agent.plane.neighbors.add("eth0", "10.0.0.2", External())
            agent.plane.publish(PimRouteChange("SG", "239.1.1.1", "10.1.0.5", "Add", 1706012345))
        else:
            agent.loop.call_later(0.01, publish)

    agent.loop.call_soon_threadsafe(publish)
    result = agent.run("events", "--type", "PimRoute", "--count", "1", *(["-o", "json"] if as_json else []))
    assert result.exit_code == 0
    if as_json:
        assert json.loads(result.stdout) == {
            "event": "PimRouteChange",
            "route_type": "SG",
            "group": "239.1.1.1",
            "source": "10.1.0.5",
            "action": "Add",
            "timestamp": 1706012345,
        }
    else:
        assert "PimRouteChange  Add  route_type=SG group=239.1.1.1 source=10.1.0.5" in result.stdout


def test_how_a_gap_is_reported() -> None:
    assert "12 events missed" in shown.event({"event": "Lagged", "missed": 12, "timestamp": 1706012345})


def test_without_an_agent_nothing_can_be_reported(tmp_path: Path) -> None:
    result = CliRunner().invoke(multicast, ["--socket", str(tmp_path / "no"), "groups"])
    assert result.exit_code == 2
    assert "cannot ask the agent" in result.stderr


@contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[tuple[str, list[Any]]]:
    """Something that gives one answer to one question: its path, and the question once it was asked."""
    path, asked = str(folder / "other.sock"), []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            with server.accept()[0] as connection:
                asked.append(json.loads(connection.recv(4096)))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path, asked
        thread.join(10)


def test_who_speaks_no_control_protocol_is_named(tmp_path: Path) -> None:
    with answering(tmp_path, b"[]\n") as (path, _):
        result = CliRunner().invoke(multicast, ["--socket", path, "groups"])
    assert result.exit_code == 2
    assert "does not speak the control protocol" in result.stderr


@pytest.mark.parametrize(
    ("line", "asked", "shown"),
    [
        (
            "add-neighbor --address 10.0.0.2 --interface e1 --priority 7",
            {
                "command": "AddExternalNeighbor",
                "neighbor": {"address": "10.0.0.2", "interface": "e1", "dr_priority": 7, "tag": None},
            },
            "10.0.0.2 on e1 is a neighbor",
        ),
        (
            "add-rpf-route --source s --interface e1 --neighbor 10.0.0.1",
            {
                "command": "AddRpfRoute",
                "source": "s",
                "rpf": {"upstream_interface": "e1", "upstream_neighbor": "10.0.0.1", "metric": None},
            },
            "10.1.0.0/16 is upstream on e1",
        ),
        (
            "enable-pim --interface e1 --passive --priority 3",
            {"command": "EnablePim", "interface": "e1", "dr_priority": 3, "passive": True},
            "PIM on e1, listening only",
        ),
        (
            "enable-pim --interface e1",
            {"command": "EnablePim", "interface": "e1", "passive": False},
            "PIM on e1",
        ),
        ("disable-pim --interface e1", {"command": "DisablePim", "interface": "e1"}, "no PIM on e1"),
    ],
)
def test_flags_become_the_fields_of_a_request(
    tmp_path: Path, line: str, asked: dict[str, Any], shown: str
) -> None:
    with answering(tmp_path, b'{"success": true, "source": "10.1.0.0/16"}\n') as (path, seen):
        result = CliRunner().invoke(multicast, ["--socket", path, *line.split()])
    assert seen == [asked]
    assert result.stdout == f"✓ {shown}\n"

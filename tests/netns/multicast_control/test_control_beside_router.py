"""A public multicast router in a node's namespace, set up as documented: no conflict, routes agree."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quilt_nodeagent.core.peers import PeerTable
from quilt_pim.core.rpf import mesh_route
from tests.support.control_doubles import Running, serving
from tests.support.multicast_streams import flowing
from tests.support.multicast_world import Node, World, inside, make_world, until
from tests.support.pim_speaker import Speaker, entered

CONFIG = Path(__file__).parents[3] / "docs" / "examples" / "smcroute.conf"
# As in that file: a source outside of the mesh, and the group that its stream has.
OUTSIDE, IMPORTED = "10.9.0.2", "239.5.5.5"
GROUP = "239.1.1.1"

pytestmark = pytest.mark.skipif(
    shutil.which("smcrouted") is None, reason="smcrouted is not installed (Debian package smcroute)"
)


@pytest.fixture
async def world(make_netns: Callable[[], Any], tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(make_netns, tmp_path) as made:
        yield made


@contextmanager
def router(node: Node, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """SMCRoute in a node's namespace, with the documented configuration, until the block ends."""
    command = [
        "ip",
        "netns",
        "exec",
        node.space.name,
        "smcrouted",
        "-n",
        "-N",
        "-f",
        str(CONFIG),
        "-l",
        "info",
    ]
    command += ["-P", str(folder / "pid"), "-u", str(folder / "sock")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def kernel_routes(node: Node) -> dict[tuple[str, str], tuple[str, list[str], str]]:
    """(source, group): (interface in, interfaces out, table), of all tables of a node."""
    found = {}
    for line in node.space.run("ip", "mroute", "show", "table", "all").splitlines():
        match = re.match(r"\(([\d.]+),\s*([\d.]+)\)\s+Iif: (\S+)(?:\s+Oifs: ([\w. ]+?))?\s+State: (.*)", line)
        if match:
            source, group, incoming, outgoing, rest = match.groups()
            table = re.search(r"Table: (\S+)", rest)
            found[source, group] = (incoming, (outgoing or "").split(), table[1] if table else "default")
    return found


def lan(node: Node, make_netns: Callable[[], Any]) -> Any:
    """A link out of the mesh: eth1 of the node, and a namespace with 10.9.0.2 behind it."""
    outside = make_netns()
    node.space.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", outside.name)
    for space, address in ((node.space, "10.9.0.1/24"), (outside, f"{OUTSIDE}/24")):
        space.run("ip", "addr", "add", address, "dev", "eth1")
        space.run("ip", "link", "set", "eth1", "up")
    outside.run("ip", "route", "add", "239.0.0.0/8", "dev", "eth1")
    return outside


async def ask_mesh(running: Running, source: str) -> Any:
    """What the agent's RPF socket says of a source, as a router asks it."""
    reader, writer = await asyncio.open_unix_connection(running.plane.config.rpf_sock)
    writer.write(json.dumps({"query": "rpf", "source": source}).encode() + b"\n")
    async with asyncio.timeout(10):
        answer = json.loads(await reader.readline())
    writer.close()
    return answer


async def test_smcroute_beside_the_agent(world: World, make_netns: Callable[[], Any], tmp_path: Path) -> None:
    one, two, _ = world.nodes
    outside = lan(one, make_netns)
    assert one.service is not None
    folder = tmp_path / "run"
    with router(one, tmp_path) as process, entered(one.space.path):
        async with serving(folder, one.service.state) as running:
            peers = [(claim.node, claim.vtep) for claim in world.claims.values() if claim.node != one.name]
            running.plane.set_mesh(peers)
            table = PeerTable(one.name, "vxlan100")
            table.replace(world.claims.values())
            running.plane.upstream = partial(mesh_route, table)
            client = await running.client()
            await client.ok("EnablePim", interface="eth1")
            near, far = one.pods[1].receiver(IMPORTED), two.pods[0].receiver(GROUP)
            state = one.service.state
            await until("node 1 knows the member", lambda: any(g.nodes for g in state.groups()))
            await until("the router's route exists", lambda: (OUTSIDE, IMPORTED) in kernel_routes(one))

            # Both carry what is theirs, at the same time and once.
            inner = one.pods[0].sender(ttl=3)
            sock = inside(outside.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            outer = type(inner)(sock)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
            await flowing(inner, GROUP, far)
            for _ in range(50):
                inner.send(GROUP)
                outer.send(IMPORTED)
                await asyncio.sleep(0.002)
            everything = dict.fromkeys(range(50), 1)
            await until("all of both streams", lambda: near.drain() == far.drain() == everything)
            sock.close()

            # No conflict: the router runs, the agent has nothing to complain about, each has its own table.
            assert process.poll() is None
            assert one.service.problems == []
            held = kernel_routes(one)
            pod = one.pods[0].address
            assert held[OUTSIDE, IMPORTED] == ("eth1", ["quilt0"], "default")
            incoming, outgoing, table = held[pod, GROUP]
            assert (incoming, outgoing) == ("quilt0", ["vxlan100"])
            assert table != "default"

            # The routes agree with what the agent tells of them, on all of its three ways.
            assert (await ask_mesh(running, pod))["upstream_interface"] == incoming
            assert "no route" in (await ask_mesh(running, OUTSIDE))["error"]
            [shown] = [r for r in (await client.ok("GetMroute"))["routes"] if r["source"] == pod]
            assert (shown["input_interface"], shown["output_interfaces"]) == (incoming, outgoing)
            await client.ok("SetRpfProvider", provider="static")
            await client.ok("AddRpfRoute", source="10.9.0.0/24", rpf={"upstream_interface": "eth1"})
            reply = await client.ok("QueryRpf", source=OUTSIDE)
            assert reply["rpf"]["upstream_interface"] == held[OUTSIDE, IMPORTED][0]

            # And PIM is received beside it: a neighbor on the link joins a group of a pod.
            with entered(outside.path):
                speaker = Speaker(OUTSIDE)
            await client.ok("Subscribe", events=["PimNeighbor", "PimRoute"])
            await client.ok("AddRpfRoute", source="10.42.1.0/24", rpf={"upstream_interface": "quilt0"})
            speaker.hello()
            assert (await client.event())["neighbor"] == OUTSIDE
            speaker.join(GROUP, pod)
            event = await client.event()
            assert (event["event"], event["action"], event["source"]) == ("PimRouteChange", "Add", pod)
            speaker.close()

    # The router is gone: its routes went with it, the mesh's stand.
    held = kernel_routes(one)
    assert (OUTSIDE, IMPORTED) not in held
    assert (pod, GROUP) in held

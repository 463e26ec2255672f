"""How soon a standing connection ends that a policy forbids, and what it costs the others.

A real runtime in a node's namespace, pods that the real CNI plugin attached, and both ends of each connection
sending every half millisecond: TCP and UDP, to the pod itself and by a Service (DNAT). Each round forbids all
of them, by a member that leaves a set or by another chain, and allows them again. A figure is the time from
the runtime's answer to the arrival of the last packet, by the kernel's own stamp, over both directions: below
0 where it came before the answer. Then the set of what was judged, which such a change empties, has 100,000
elements, a client, server and port each: how long that needs, and the longest pause between two packets of a
connection that continues.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.node import BenchError, until
from bench.plugins import Pods, build_plugin
from bench.result import Line, Result, median, percentile
from bench.stamped import Stamped
from quilt_policy.program import Profile
from tests.support.namespaces import Namespace
from tests.support.policy_node import PORT, PolicyNode
from tests.support.policy_programs import ingress, pod, program, rule
from tests.support.runtime_node import Node

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Ending what a policy forbids"
ROUNDS = 50
JUDGED = 100_000
SERVICE = "10.96.0.9"
PODS = ("web", "client", "other", "third")
# As kube-proxy does it: a packet without its connection would get to the client with the pod's own address.
DNAT = f"""table ip service {{
  chain in {{
    type nat hook prerouting priority dstnat;
    ip daddr {SERVICE} meta l4proto {{ tcp, udp }} dnat to 10.42.1.2
  }}
  chain forward {{ type filter hook forward priority 0; ct state invalid drop; }}
}}"""
QUIET = f"""table inet quiet {{
  chain in {{ type filter hook input priority 0; udp dport != {PORT} drop; }}
}}"""
SCATTER = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in sys.argv[1:]:
    for port in range(10_000, 60_000):
        end.sendto(b"x", (address, port))
"""


def measure(bench: Bench) -> Result:
    with _scene() as scene:
        found = {what: _cuts(scene, forbid, bench.rounds(ROUNDS)) for what, forbid in _WAYS.items()}
        bench.say(f"{JUDGED:,} judged ports")
        alone, full = _emptied(scene, bench.rounds(ROUNDS))
    lines = [
        Line(
            what=f"{what}: last packet after the answer, worst of {len(each)}",
            value=max(each),
            unit="ms",
            p50=median(each),
            p99=percentile(each, 99),
            target=100,
        )
        for what, each in found.items()
    ]
    for what, at in (("the runtime's answer", 0), ("longest pause of an allowed connection", 1)):
        lines.append(
            Line(
                what=f"{JUDGED:,} judged ports are judged again: {what}",
                value=max(each[at] for each in full),
                unit="ms",
                against="without them",
                other=max(each[at] for each in alone),
            )
        )
    return Result(lines=lines)


@dataclass(frozen=True)
class Scene:
    """The node and its pods, by name."""

    node: PolicyNode
    pods: dict[str, Namespace]

    @property
    def address(self) -> str:
        """That of the pod that serves."""
        return self.node.addresses["web"]


@contextmanager
def _scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quilt-bench-", dir="/dev/shm")))
        host, *pods = map(Namespace, stack.enter_context(Pods(len(PODS) + 1)).names)
        host.run("ip", "link", "set", "lo", "up")
        node = Node(host, folder, build_plugin(folder))
        stack.callback(node.close)
        node.start()
        node.give_subnet()
        enforcing = PolicyNode(node, iter(pods).__next__)
        enforcing.replace(program(*(Profile(pod(name)) for name in PODS)))
        scene = Scene(enforcing, {name: enforcing.add(name) for name in PODS})
        host.run("nft", "-f", "-", stdin=DNAT)
        scene.pods["web"].run("nft", "-f", "-", stdin=QUIET)
        _allow(enforcing)
        yield scene


def _program(node: PolicyNode, chain: str) -> None:
    free = [Profile(pod(name)) for name in PODS if name != "web"]
    friends = node.of("p_friends", "client", "other", "third")
    chains = (ingress("i_open", rule("p_friends")), ingress("i_closed"))
    node.replace(program(friends, *chains, Profile(pod("web"), chain), *free))


def _allow(node: PolicyNode) -> None:
    _program(node, "i_open")


def _forbid_members(node: PolicyNode) -> None:
    node.members("p_friends", remove=tuple(node.addresses[name] for name in ("client", "other")))


def _forbid_all(node: PolicyNode) -> None:
    _program(node, "i_closed")


_WAYS: dict[str, Callable[[PolicyNode], None]] = {
    "a member leaves": _forbid_members,
    "another policy": _forbid_all,
}


def _cuts(scene: Scene, forbid: Callable[[PolicyNode], None], rounds: int) -> list[float]:
    """Milliseconds from each answer to the last packet of any connection."""
    web, client, other = (scene.pods[name] for name in PODS[:3])
    port = str(PORT)
    found = []
    with ExitStack() as stack:
        ends = [stack.enter_context(Stamped(web, "serve", "0.0.0.0", port))]
        for way in ("tcp", "udp"):
            ends.append(stack.enter_context(Stamped(client, way, scene.address, port)))
            ends.append(stack.enter_context(Stamped(other, way, SERVICE, port)))
        for _ in range(rounds):
            _await_all(ends)
            forbid(scene.node)
            answered = time.time_ns()
            time.sleep(0.25)
            last = max(came.last for end in ends for came in end.report().values())
            if any(end.report() for end in ends):
                raise BenchError("what is forbidden continues")
            found.append((last - answered) / 1e6)
            _allow(scene.node)
    return found


def _await_all(ends: list[Stamped]) -> None:
    """Wait until something comes by each way at each end."""
    ways: list[set[str]] = [set() for _ in ends]

    def all_came() -> bool:
        for seen, end in zip(ways, ends, strict=True):
            seen.update(end.report())
        return len(ways[0]) == len(ends) - 1 and all(ways)

    until(all_came, "every connection continues")


def _emptied(scene: Scene, rounds: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Milliseconds of the answer and of the longest pause, without other judgements and with them."""
    web, third = scene.pods["web"], scene.pods["third"]
    with (
        Stamped(web, "serve", "0.0.0.0", str(PORT)) as server,
        Stamped(third, "udp", scene.address, str(PORT)) as client,
    ):
        alone = [_pause(scene.node, [server, client]) for _ in range(rounds)]
        full = []
        for _ in range(max(2, rounds // 10)):
            third.run(sys.executable, "-c", SCATTER, scene.address, scene.node.addresses["other"])
            if (judged := _judged(scene.node)) < 0.95 * JUDGED:
                raise BenchError(f"only {judged} ports are judged")
            full.append(_pause(scene.node, [server, client]))
    return alone, full


def _pause(node: PolicyNode, ends: list[Stamped]) -> tuple[float, float]:
    for end in ends:
        end.report()
    time.sleep(0.05)
    begun = time.perf_counter()
    node.members("p_friends", remove=(node.addresses["client"],))
    taken = time.perf_counter() - begun
    time.sleep(0.2)
    pause = max(came.pause for end in ends for came in end.report().values())
    node.members("p_friends", add=(node.addresses["client"],))
    return taken * 1e3, pause / 1e6


def _judged(node: PolicyNode) -> int:
    listed = node.node.netns.run("nft", "-j", "list", "set", "inet", "quilt-policy", "judged4")
    return sum(len(one["set"].get("elem", ())) for one in json.loads(listed)["nftables"] if "set" in one)

"""A node that enforces network policies, pods that talk on it, and what the agent would send."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from quilt_policy.program import AddressSet, PodName, Program
from quilt_proto import node_pb2, policy_pb2, policy_pb2_grpc
from tests.support.namespaces import Namespace
from tests.support.policy_programs import UID, members, message
from tests.support.runtime_node import CniResult, Node, eventually

PORT = 8080
# Both ends send a numbered line each 10 ms by each way that there is, and count what they get.
TALK = """
import json, select, socket, sys, time
mode, host, port, ways = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
family = socket.AF_INET6 if ":" in host else socket.AF_INET
got = {"tcp": 0, "udp": 0, "sent": 0}
streams, listener, peers = [], None, set()
udp = socket.socket(family, socket.SOCK_DGRAM)
if mode == "serve":
    listener = socket.create_server((host, port), family=family)
    udp.bind((host, port))
else:
    if "tcp" in ways:
        streams.append(socket.create_connection((host, port), 10))
    if "udp" in ways:
        peers.add((host, port))
udp.setblocking(False)
print("ready", flush=True)
due = time.monotonic()
while True:
    watched = [sys.stdin, udp, *streams, *([listener] if listener else [])]
    for ready in select.select(watched, [], [], max(0, due - time.monotonic()))[0]:
        try:
            if ready is sys.stdin:
                if not sys.stdin.readline():
                    sys.exit()
                print(json.dumps(got), flush=True)
            elif ready is listener:
                streams.append(listener.accept()[0])
            elif ready is udp:
                _, peer = udp.recvfrom(2048)
                peers.add(peer)
                got["udp"] += 1
            else:
                data = ready.recv(65536)
                got["tcp"] += len(data)
                if not data:
                    streams.remove(ready)
        except OSError:
            if ready in streams:
                streams.remove(ready)
    if time.monotonic() >= due:
        due = max(due + 0.01, time.monotonic() - 0.05)
        for stream in streams:
            stream.setblocking(False)
            try:
                stream.send(b"x")
            except OSError:
                pass
        for peer in peers:
            try:
                udp.sendto(b"x", peer)
                got["sent"] += 1
            except OSError:
                pass
"""
PROBE = """
import socket, sys
kind, host, port, wait, source = *sys.argv[1:3], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
end = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
end.settimeout(wait)
try:
    end.connect((host, port))
    end.send(b"x")
    print(len(end.recv(9)))
except OSError as error:
    print(0, error)
"""
DENIED_S = 0.7


def probe(pod: Namespace, address: str, kind: str = "tcp", port: int = PORT, wait: float = 5.0) -> bool:
    """Whether somebody answers in a pod that `talking` serves."""
    output = pod.run(sys.executable, "-c", PROBE, kind, address, str(port), str(wait), "0")
    return output.split()[0] != "0"


def denied(pod: Namespace, address: str, kind: str = "tcp", port: int = PORT) -> bool:
    return not probe(pod, address, kind, port, DENIED_S)


def pings(pod: Namespace, address: str) -> bool:
    output = pod.run("sh", "-c", f"ping -c1 -W1 {address} >/dev/null && echo yes || echo no")
    return output.strip() == "yes"


class Talker:
    """One end; a report is what it got so far, by way: bytes of TCP, datagrams of UDP."""

    def __init__(self, pod: Namespace, mode: str, host: str, ways: str, port: int = PORT) -> None:
        command = ["ip", "netns", "exec", pod.name, sys.executable, "-c", TALK, mode, host, str(port), ways]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._line() == "ready", f"{mode} {host}"

    def report(self) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def serving(pod: Namespace, host: str = "0.0.0.0") -> Iterator[Talker]:
    """A server of both ways, which also sends by itself to who sent something."""
    talker = Talker(pod, "serve", host, "tcp,udp")
    try:
        yield talker
    finally:
        talker.close()


@contextmanager
def talking(pod: Namespace, host: str, ways: str = "tcp,udp", port: int = PORT) -> Iterator[Talker]:
    """A client whose connections exist when this begins."""
    talker = Talker(pod, "connect", host, ways, port)
    try:
        yield talker
    finally:
        talker.close()


def flows(*ends: Talker, ways: tuple[str, ...] = ("tcp", "udp")) -> None:
    """Assert that each end gets something by each way."""
    before = [end.report() for end in ends]

    def more() -> bool:
        now = [end.report() for end in ends]
        return all(b[way] > a[way] for a, b in zip(before, now, strict=True) for way in ways)

    eventually(more, f"{ways} flow: {before}, {[end.report() for end in ends]}")


def is_cut(*ends: Talker, ways: tuple[str, ...] = ("tcp", "udp"), seconds: float = 0.4) -> None:
    """Assert that nothing arrives at any end from 100 ms on, for a while."""
    subprocess.run(["sleep", "0.1"], check=True)
    before = [[end.report()[way] for way in ways] for end in ends]
    subprocess.run(["sleep", str(seconds)], check=True)
    assert [[end.report()[way] for way in ways] for end in ends] == before


@dataclass
class PolicyNode:
    """A node whose runtime enforces policies, as an agent would have it."""

    node: Node
    make_netns: Callable[[], Namespace]
    settings: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    _stubs: dict[int, policy_pb2_grpc.PolicyStub] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configure(True)

    def configure(self, policies: bool, **more: Any) -> None:
        request = node_pb2.ConfigureRequest(**{**self.settings, **more}, policies=policies)
        answer = self.node.config.Configure(request)
        assert answer.success, answer.error

    @property
    def stub(self) -> policy_pb2_grpc.PolicyStub:
        """By one connection for each process of the runtime."""
        assert self.node.process is not None
        pid = self.node.process.pid
        if pid not in self._stubs:
            self._stubs[pid] = policy_pb2_grpc.PolicyStub(self.node.channel())
        return self._stubs[pid]

    def replace(self, program: Program) -> None:
        answer = self.stub.ReplacePolicies(message(program))
        assert answer.success, (answer.error, self.node.log)

    def change(self, **fields: Any) -> None:
        answer = self.stub.ChangePolicies(policy_pb2.PolicyChange(**fields))
        assert answer.success, (answer.error, self.node.log)

    def members(self, name: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        """Change the members of one set."""
        more, fewer = members(*add), members(*remove)
        change = policy_pb2.SetMembers(
            name=name, add_v4=more.v4, add_v6=more.v6, remove_v4=fewer.v4, remove_v6=fewer.v6
        )
        self.change(members=[change])

    def add(self, name: str, pod: Namespace | None = None, uid: str = UID) -> Namespace:
        """A pod of this name, which must be announced."""
        pod = pod or self.make_netns()
        self.addresses[name] = self.node.add_pod(pod, arguments=arguments(name, uid))
        return pod

    def try_add(self, name: str, pod: Namespace, uid: str = UID) -> CniResult:
        return self.node.cni("ADD", pod.name, pod.path, arguments=arguments(name, uid))

    def delete(self, pod: Namespace) -> None:
        result = self.node.cni("DEL", pod.name, pod.path)
        assert result.code == 0, result.document

    def table(self, *options: str) -> str:
        listed = f"nft -s {' '.join(options)} list table inet quilt-policy 2>/dev/null || true"
        return self.node.netns.run("sh", "-c", listed)

    def of(self, name: str, *pods: str) -> AddressSet:
        """A set of pods' addresses, and of others as they are."""
        return AddressSet(name, members(*(self.addresses.get(pod, pod) for pod in pods)))


def arguments(name: str, uid: str = UID) -> str:
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}"


def pod_name(name: str, uid: str = UID) -> PodName:
    return PodName("default", name, uid)

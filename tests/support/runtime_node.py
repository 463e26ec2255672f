"""A node: a namespace with a real runtime whose only capability is NET_ADMIN. Pods are namespaces too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc

from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc
from tests.support.namespaces import Namespace

ROOT = Path(__file__).parents[2]


# Many times as long where everything is slow: in a virtual machine with another kernel.
PATIENCE = float(os.environ.get("QUILT_TEST_PATIENCE", "1"))


# Less than the 48 s after which the runtime looks by itself at what no notification was received for.
TIMEOUT = 40.0 * PATIENCE


NET_ADMIN_ALONE = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin", "--")


def eventually(condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
    """Return the condition's first true value; what is asked about has no event to await."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what}")


@dataclass
class CniResult:
    """What quilt-cni printed and how it ended."""

    code: int
    document: dict[str, Any]


@dataclass
class Node:
    """A namespace, a runtime's directory, and the runtime while it runs."""

    netns: Namespace
    directory: Path
    plugin: Path
    process: subprocess.Popen[bytes] | None = None
    channels: list[grpc.Channel] = field(default_factory=list)
    health_port: int = 9471

    @property
    def socket_dir(self) -> Path:
        return self.directory / "run"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        written = self.log.rpartition("\n")[0]  # what follows the last newline is still being written
        return [event for event in map(json.loads, written.splitlines()) if event["event"] == name]

    def start(self, *arguments: str, program: tuple[str, ...] = ("-m", "quilt_runtime")) -> None:
        """Start the runtime, or a `program` of Python that runs it, and return once it serves."""
        with (self.directory / "log").open("ab") as log:
            before = log.tell()
            command = [sys.executable, *program, f"--socket-dir={self.socket_dir}", *arguments]
            enter = ("ip", "netns", "exec", self.netns.name, *NET_ADMIN_ALONE)
            self.process = subprocess.Popen([*enter, *command], stdout=log, stderr=log)
        eventually(lambda: self._serving(before), f"the runtime serves; its log:\n{self.log}")

    def _serving(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return '"started"' in self.log[before:]

    def stop(self) -> int:
        """Stop it as Kubernetes does; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(TIMEOUT)
        self.process = None
        return code

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(TIMEOUT)
        self.process = None

    def channel(
        self, path: Path | None = None, credentials: grpc.ChannelCredentials | None = None, name: str = ""
    ) -> grpc.Channel:
        target = f"unix:{path or self.socket_dir / 'runtime.sock'}"
        # Else gRPC hands out the connection of an earlier channel, whose runtime may have been killed since.
        own = ("grpc.use_local_subchannel_pool", 1)
        if credentials is None:
            channel = grpc.insecure_channel(target, [own])
        else:
            channel = grpc.secure_channel(target, credentials, [own, ("grpc.ssl_target_name_override", name)])
        self.channels.append(channel)
        return channel

    @cached_property
    def shared_channel(self) -> grpc.Channel:
        """One connection for many calls."""
        return self.channel()

    @contextmanager
    def relay(self, address: str) -> Iterator[Path]:
        """Carry a Unix socket's bytes to a TCP address in the node: the test is in another network."""
        path = self.directory / f"relay-{address.replace(':', '-')}"
        command = [
            "ip",
            "netns",
            "exec",
            self.netns.name,
            "socat",
            f"UNIX-LISTEN:{path},fork",
            f"TCP:{address}",
        ]
        process = subprocess.Popen(command)
        try:
            # The file is there a moment before anybody listens.
            eventually(lambda: str(path) in self.netns.run("ss", "-xlH"), "the relay listens")
            yield path
        finally:
            process.kill()
            process.wait()

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        if self.process is not None:
            self.kill()

    @property
    def contract(self) -> runtime_pb2_grpc.QuiltRuntimeStub:
        return runtime_pb2_grpc.QuiltRuntimeStub(self.channel())

    @property
    def routes(self) -> node_pb2_grpc.RouteTableStub:
        return node_pb2_grpc.RouteTableStub(self.channel())

    @property
    def ipam(self) -> node_pb2_grpc.IpamStub:
        return node_pb2_grpc.IpamStub(self.channel())

    @property
    def config(self) -> node_pb2_grpc.NodeConfigStub:
        return node_pb2_grpc.NodeConfigStub(self.channel())

    def give_subnet(self, subnet: str = "10.42.1.0/24") -> None:
        answer = self.contract.ConfigureNodeSubnet(runtime_pb2.ConfigureNodeSubnetRequest(subnet=subnet))
        assert answer.success, answer.error

    def cni(
        self,
        verb: str,
        container: str = "",
        netns: str = "",
        version: str = "1.0.0",
        interface: str = "eth0",
        arguments: str = "",
        **conf: Any,
    ) -> CniResult:
        """Call the real plugin binary as a container engine does."""
        config = {
            "cniVersion": version,
            "name": "quilt",
            "type": "quilt-cni",
            "socket": str(self.socket_dir / "cni.sock"),
            **conf,
        }
        env = {"CNI_COMMAND": verb, "CNI_PATH": str(self.plugin.parent)}
        if container:
            env |= {"CNI_CONTAINERID": container, "CNI_IFNAME": interface, "CNI_NETNS": netns}
        if arguments:
            env["CNI_ARGS"] = arguments
        done = subprocess.run(
            [self.plugin],
            input=json.dumps(config),
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
        )
        return CniResult(done.returncode, json.loads(done.stdout) if done.stdout.strip() else {})

    def add_pod(self, pod: Namespace, **conf: Any) -> str:
        """ADD for a namespace; return the pod's address."""
        result = self.cni("ADD", pod.name, pod.path, **conf)
        assert result.code == 0, (result.document, self.log)
        address: str = result.document["ips"][0]["address"]
        return address.removesuffix("/32")

    def metric(self, name: str) -> float:
        """Return the value of one sample, 0 where it does not exist."""
        text = self.netns.run("curl", "-sf", f"http://127.0.0.1:{self.health_port}/metrics")
        found = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(found[0].split()[-1]) if found else 0.0


def ping(pod: Namespace, address: str, *arguments: str) -> None:
    """Assert that one echo request is answered."""
    pod.run("ping", "-c", "1", "-W", "3", *arguments, address)


def make_vxlan(netns: Namespace, name: str = "vxlan100") -> None:
    netns.run(
        "ip", "link", "add", name, "type", "vxlan", "id", "100", "dstport", "4789", "local", "127.0.0.1"
    )
    netns.run("ip", "link", "set", name, "up")


def show(netns: Namespace, *arguments: str) -> list[dict[str, Any]]:
    """Return what `ip -j` says."""
    text = netns.run("ip", "-j", *arguments)
    parsed: list[dict[str, Any]] = json.loads(text) if text.strip() else []
    return parsed


def held(node: Node) -> dict[str, str]:
    """Return who holds which address, as the runtime says."""
    listed = node.ipam.ListAllocations(node_pb2.ListAllocationsRequest()).allocations
    return {allocation.container_id: allocation.address for allocation in listed}


def veths(node: Node) -> list[str]:
    """Return the host ends of pods' interfaces, as the kernel says."""
    return sorted(link["ifname"] for link in show(node.netns, "link") if link["ifname"].startswith("qv"))


def route_group(
    *numbers: int, interface: str = "vxlan100", gateways: list[str] | None = None
) -> node_pb2.RouteGroup:
    """Destinations 10.42.n.0/24 behind one interface."""
    return node_pb2.RouteGroup(
        interface=interface,
        destinations=[f"10.42.{n}.0/24" for n in numbers],
        gateways=[f"10.42.{n}.0" for n in numbers] if gateways is None else gateways,
    )

"""A node whose runtime enforces a program of policies that no API server knows, and pods that it judges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import IPv4Address

from bench import peers
from bench.node import Node
from bench.plugins import Call, Engine, build_plugin
from quilt_nodeagent.executor.client import NodeSettings, RuntimeClient
from quilt_pods import encode
from quilt_pods.runtime import PolicyRuntime
from quilt_policy.program import (
    Action,
    AddressSet,
    Chain,
    Direction,
    Members,
    Peer,
    PodName,
    Ports,
    Profile,
    Program,
    Protocol,
    Rule,
    Scope,
)

_CLUSTER = "10.0.0.0/8"
_MTU = 1450
_UID = "0b5e4a7e-7d43-4c1f-9d1c-2d5a6f4c8e11"
# Where members of sets begin that nobody has.
_NOBODY = int(IPv4Address("10.128.0.2"))


class PolicedNode:
    """A node and its pods, by name; without `policies` it enforces none, and has no table of them."""

    def __init__(self, stack: ExitStack, of: str, *, policies: bool, subnet: str = peers.OWN_SUBNET) -> None:
        self._policies, self._subnet = policies, subnet
        self.node = stack.enter_context(Node(of))
        self.node.start_runtime()
        self.addresses: dict[str, str] = {}

    def connect(self, pods: dict[str, str]) -> None:
        """Connect pods, {name: network namespace}."""
        plugin = str(build_plugin(self.node.folder))
        self.enforce(Program(pods={pod_name(pod): Profile(pod_name(pod)) for pod in pods}))
        socket = str(self.node.socket.with_name("cni.sock"))
        config = {"cniVersion": "1.0.0", "name": "quilt", "type": "quilt-cni", "socket": socket}
        with Engine(self.node) as engine:
            for pod, netns in pods.items():
                call = Call(plugin, "ADD", pod, f"/run/netns/{netns}", config, pod_arguments(pod))
                self.addresses[pod] = engine.succeed([call])[0].address

    def enforce(self, program: Program) -> None:
        """Have a program enforced, and nothing else, by the agent's own calls."""
        asyncio.run(self._enforce(program))

    async def _enforce(self, program: Program) -> None:
        client = RuntimeClient(f"unix://{self.node.socket}")
        settings = NodeSettings((_CLUSTER,), _MTU, peers.DEVICE, 4789, frozenset(), policies=self._policies)
        try:
            await client.configure_subnet(self._subnet)
            await client.configure(settings)
        finally:
            await client.close()
        if self._policies:
            await enforced(self.node, program)


async def enforced(node: Node, program: Program) -> None:
    """Replace the program of a node that enforces policies."""
    client = RuntimeClient(f"unix://{node.socket}")
    try:
        await PolicyRuntime(client.channel).replace(encode.program(program))
    finally:
        await client.close()


def pod_arguments(name: str) -> str:
    """CNI_ARGS of a pod, as the container engine passes them on."""
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={_UID}"


def pod_name(name: str) -> PodName:
    """How the runtime knows a pod."""
    return PodName("default", name, _UID)


def address_set(name: str, size: int, member: str) -> AddressSet:
    """A set of so many addresses, of which one is given and nobody has the others."""
    others = (number.to_bytes(4) for number in range(_NOBODY, _NOBODY + size - 1))
    return AddressSet(name, Members(b"".join(sorted([*others, IPv4Address(member).packed]))))


def ingress(name: str, rules: int, members: str, port: int) -> Chain:
    """A chain of so many rules, each for all members of a set at another port of TCP and UDP.

    So none is passed over by the address alone, and the last one accepts, also at the port behind.
    """
    ranges = [*((number, number) for number in range(1000, 1000 + rules - 1)), (port, port + 1)]
    made = (Rule(Action.ACCEPT, Peer(Scope.MEMBERS, members), _both(one)) for one in ranges)
    return Chain(name, Direction.INGRESS, policies=tuple(made))


def program(parts: Iterable[Chain | AddressSet | Profile]) -> Program:
    """Put a program together."""
    parts = list(parts)
    return Program(
        {part.name: part for part in parts if isinstance(part, Chain)},
        {part.name: part for part in parts if isinstance(part, AddressSet)},
        {part.pod: part for part in parts if isinstance(part, Profile)},
    )


def _both(ports: tuple[int, int]) -> tuple[Ports, ...]:
    return tuple(Ports(protocol, (ports,)) for protocol in (Protocol.TCP, Protocol.UDP))

"""`quiltctl check node` on every node at once, by pods on the hosts' network, before an install too.

Before an install the mesh's UDP port is free, so that the pods can try it between the hosts themselves; after
one it belongs to the kernel, and the connectivity test uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quilt_cli.connectivity import manifests
from quilt_cli.connectivity.stage import Progress, Stage, stage
from quilt_cli.core.finding import Finding, Level, fail, ok
from quilt_cli.core.matrix import Answer, Server, Source, Target, answers
from quilt_crds.names import READY
from quilt_crds.wire import Node
from quilt_kube.listwatch import convert
from quilt_kube.sync import Client


@dataclass(frozen=True, slots=True)
class Settings:
    """Which image (with `quiltctl` in it), what the network is, and whether the mesh runs already."""

    image: str
    port: int
    vni: int
    device: str
    cidrs: tuple[str, ...]
    installed: bool
    timeout: float = 120.0


def check(client: Client, settings: Settings, progress: Progress) -> list[Finding]:
    """Findings of all nodes. Raises ProbeError, ApiError, UnreachableError."""
    with stage(client, progress, timeout=settings.timeout, keep=False) as here:
        nodes = _answering(here)
        progress(f"looking at {len(nodes)} nodes")
        found = _looks(here, nodes, settings)
        if not settings.installed:
            # Only now: our own servers would be found to hold the port.
            servers = here.serve(manifests.servers(settings.image, port=settings.port, host=True))
            progress(f"trying UDP {settings.port} between {len(servers)} nodes")
            found += _between(here, servers, settings)
        return found + [
            fail("node-silent", what, why, f"kubectl describe {what}") for what, why in here.silent.items()
        ]


def _answering(here: Stage) -> list[str]:
    """Linux nodes whose kubelet answers: a pod on another would be waited for in vain."""
    names = []
    for raw in here.client.items("/api/v1/nodes"):
        node = convert(raw, Node)
        ready = node.condition(READY)
        if ready is not None and ready.status == "Unknown":
            here.silent[f"node {node.name}"] = f"its kubelet does not answer: {ready.text}"
        elif node.linux:
            names.append(node.name)
    return names


def _looks(here: Stage, nodes: Sequence[str], settings: Settings) -> list[Finding]:
    arguments = ["--post" if settings.installed else "--pre", "--vni", str(settings.vni)]
    arguments += ["--port", str(settings.port), "--device", settings.device]
    arguments += [item for cidr in settings.cidrs for item in ("--cluster-cidr", cidr)]
    pods = [
        manifests.looker(f"look-{index}", node, settings.image, arguments) for index, node in enumerate(nodes)
    ]
    documents = here.outputs(pods).values()
    return [finding(raw) for document in documents for raw in document.get("findings", ())]


def _between(here: Stage, servers: Sequence[Server], settings: Settings) -> list[Finding]:
    pods = []
    for index, source in enumerate(servers):
        others = [server for server in servers if server.node != source.node]
        wanted = [Target(server.node, "udp", server.host, settings.port) for server in others]
        pods.append(manifests.asker(f"udp-{index}", Source(source.node, host=True), settings.image, wanted))
    outputs = here.outputs(pods)
    found = [
        _blocked(source.node, answer)
        for index, source in enumerate(servers)
        for answer in answers(outputs.get(f"udp-{index}", ()))
        if not answer.ok
    ]
    if not found and len(servers) > 1:
        found = [ok("udp", "nodes", f"UDP {settings.port} passes between all {len(servers)} of them")]
    return found


def _blocked(source: str, answer: Answer) -> Finding:
    target = answer.target
    return fail(
        "udp-blocked",
        f"node {source} → {target.label}",
        f"UDP {target.port} to {target.host} is not answered: {answer.error}",
        "let it pass in the firewalls and security groups between the nodes, in both directions",
    )


def finding(raw: dict[str, Any]) -> Finding:
    """A finding from its JSON form."""
    return Finding(Level(raw["level"]), raw["code"], raw["object"], raw["message"], raw.get("todo", ""))

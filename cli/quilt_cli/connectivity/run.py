"""What is run on a stage: the connectivity test, and `quiltctl check node` on every node at once.

The test has servers on every node first, then a pod per node that asks all of them. Nodes are looked at by
pods on the hosts' network. Before an install the mesh's UDP port is free, so that they can try it between the
hosts themselves; after one it belongs to the kernel, and the connectivity test uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quilt_cli.connectivity import manifests
from quilt_cli.connectivity.stage import Progress, Stage, node_image, stage
from quilt_cli.core.finding import Finding, fail, ok
from quilt_cli.core.matrix import Answer, Matrix, Server, Services, Source, Target, targets
from quilt_cli.core.node_checks import Expected
from quilt_kube.sync import Client

# Seconds to wait for pods that look at nodes.
_TIMEOUT = 120.0


def run(
    client: Client, image: str | None, progress: Progress, *, hosts: bool, timeout: float, keep: bool
) -> Matrix:
    """Run a whole test and remove it again, unless it is to `keep`; with `hosts` these ask too.

    `timeout` is how long to wait for pods, in seconds. Raises CannotTellError, ApiError, UnreachableError.
    """
    image = image or node_image(client)
    with stage(client, progress, timeout=timeout, keep=keep) as here:
        services = _services(client, here)
        servers = here.serve(manifests.servers(image))
        kinds = (False, True) if hosts else (False,)
        sources = [Source(server.node, host) for host in kinds for server in servers]
        progress(f"{len(sources)} pods and hosts ask {len(servers)} servers")
        wanted = {source: targets(source, servers, services, manifests.PORT) for source in sources}
        return Matrix(tuple(servers), here.ask(image, wanted), here.silent)


def _services(client: Client, here: Stage) -> Services:
    made = client.create(f"{here.path}/services", manifests.service())
    dns = client.items("/api/v1/services", {"labelSelector": "k8s-app=kube-dns"})
    return Services(made["spec"].get("clusterIP", ""), f"probe.{here.name}.svc" if dns else "")


def check_nodes(client: Client, image: str | None, want: Expected, progress: Progress) -> list[Finding]:
    """Findings of all nodes. Raises CannotTellError, ApiError, UnreachableError."""
    image = image or node_image(client)
    with stage(client, progress, timeout=_TIMEOUT, keep=False) as here:
        nodes = here.answering()
        progress(f"looking at {len(nodes)} nodes")
        found = _looks(here, nodes, image, want)
        if not want.installed:
            # Only now: our own servers would be found to hold the port.
            servers = here.serve(manifests.servers(image, port=want.port, host=True))
            progress(f"trying UDP {want.port} between {len(servers)} nodes")
            found += _between(here, servers, image, want.port)
        return found + [
            fail("node-silent", what, why, f"kubectl describe {what}") for what, why in here.silent.items()
        ]


def _looks(here: Stage, nodes: Sequence[str], image: str, want: Expected) -> list[Finding]:
    pods = [
        manifests.looker(f"look-{index}", node, image, want.arguments) for index, node in enumerate(nodes)
    ]
    documents = here.outputs(pods).values()
    return [msgspec.convert(raw, Finding) for document in documents for raw in document.get("findings", ())]


def _between(here: Stage, servers: Sequence[Server], image: str, port: int) -> list[Finding]:
    wanted = {
        Source(source.node, host=True): [
            Target(server.node, "udp", server.host, port) for server in servers if server.node != source.node
        ]
        for source in servers
    }
    given = here.ask(image, wanted)
    found = [_blocked(source.node, item) for source in given for item in given[source] if not item.ok]
    if not found and len(servers) > 1:
        found = [ok("udp", "nodes", f"UDP {port} passes between all {len(servers)} of them")]
    return found


def _blocked(source: str, answer: Answer) -> Finding:
    return fail(
        "udp-blocked",
        f"node {source} → {answer.label}",
        f"UDP {answer.port} to {answer.host} is not answered: {answer.error}",
        "let it pass in the firewalls and security groups between the nodes, in both directions",
    )

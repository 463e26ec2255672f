"""Two nodes' kernels as `quiltctl node dump` showed those of `trace_world`, to break things in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quilt_cli.core.trace.ends import Cluster, resolve
from quilt_cli.core.trace.host_steps import Asked
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.site import Site, Want
from quilt_cli.core.trace.way import Way
from quilt_crds.wire_network import QuiltNetworkSpec
from tests.support import cli_snapshots as some

Document = dict[str, Any]
Change = Callable[[Document], object]
_TAKEN = Path(__file__).with_suffix(".json")


POD1, POD2 = "10.42.1.5", "10.42.2.5"
SERVICE = {
    "metadata": {"namespace": "default", "name": "db"},
    "spec": {"clusterIPs": ["10.96.0.9"], "ports": [{"name": "sql", "port": 80, "protocol": "TCP"}]},
}
SLICE = {
    "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
    "addressType": "IPv4",
    "ports": [{"name": "sql", "port": 8080}],
    "endpoints": [
        {"addresses": ["10.42.2.4"], "conditions": {"ready": False}},
        {"addresses": [POD2], "conditions": {"ready": True}},
    ],
}


def documents() -> dict[str, Document]:
    """The documents, by node: fresh ones at each call."""
    found: dict[str, Document] = json.loads(_TAKEN.read_text())
    return found


def looked_at(about: Cluster, *nodes: str, **broken: Change) -> tuple[Site, ...]:
    """The nodes with their kernels; `broken` changes the document of the node of that name."""
    held = documents()
    for name, change in broken.items():
        change(held[name])
    return tuple(replace(about.site(name, 4), kernel=Kernel(held[name])) for name in nodes)


def link(document: Document, name: str) -> Document:
    return next(item for item in document["links"] if item["ifname"] == name)


def without(part: str, **fields: Any) -> Callable[[Document], None]:
    """What removes the entries of a part that have these fields."""

    def change(document: Document) -> None:
        kept = [one for one in document[part] if any(one.get(key) != value for key, value in fields.items())]
        assert len(kept) < len(document[part])
        document[part] = kept

    return change


def pod(number: int, name: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name or f"pod{number}"},
        "spec": {"nodeName": f"n{number}", **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": f"10.42.{number}.5"}, {"ip": f"fd42::{number}:5"}]},
    }


def cluster(**fields: Any) -> Cluster:
    given = {"pods": [pod(1), pod(2)], "services": [SERVICE], "slices": [SLICE]}
    return Cluster(some.healthy(), **{**given, **fields})


def way(
    source: str = "default/pod1", target: str = "default/pod2", about: Cluster | None = None, **broken: Change
) -> Way:
    about = about or cluster()
    ends = (resolve(about, source, 4), resolve(about, target, 4))
    one, two = looked_at(about, ends[0].node, ends[1].node, **broken)
    asked = Asked(ends[0].address, ends[1].address, "tcp", 8080)
    return Way(*ends, (one, two), Want(QuiltNetworkSpec()), asked)

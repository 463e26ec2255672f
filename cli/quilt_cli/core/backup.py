"""What a backup holds: what people decided, and who has which subnet. It is a List that kubectl reads, too.

Left out is what belonged to the objects of then (uid, resourceVersion, owners, status) and what agents make
again by themselves. `mesh` of a claim stays: by it the peers route until the operator has looked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

import yaml

from quilt_crds.names import GROUP, QUILTNETWORK, QUILTNODE, QUILTSUBNET, Resource
from quilt_kube.request import Json

KINDS = (QUILTNETWORK, QUILTNODE, QUILTSUBNET)
"""In the order in which they are created: claims are checked against the network."""
_PARTS = ("spec", "mesh")
# A copy of the object, made by `kubectl apply`.
_KUBECTLS = "kubectl.kubernetes.io/"
_HEAD = (
    "# Backup of Quilt Mesh, put back by `quiltctl restore FILE`. The annotations say of what, and when.\n"
)


def kept(raw: Json, kind: Resource) -> Json:
    """Return of an object what a backup keeps."""
    old = raw["metadata"]
    annotations = old.get("annotations") or {}
    texts = {
        "labels": old.get("labels"),
        "annotations": {name: text for name, text in annotations.items() if not name.startswith(_KUBECTLS)},
    }
    metadata = {"name": old["name"]} | {name: found for name, found in texts.items() if found}
    return kind.document(metadata, **{part: raw[part] for part in _PARTS if part in raw})


def decided(node: Json) -> bool:
    """Whether an administrator decided something about a node: agents create the others, empty."""
    return any((node.get("spec") or {}).values())


def document(
    networks: Iterable[Json], nodes: Iterable[Json], claims: Iterable[Json], about: Mapping[str, str]
) -> Json:
    """Return the List of a backup; `about` says of what and when it is, by short names."""
    items = [
        *(kept(raw, QUILTNETWORK) for raw in networks),
        *(
            kept(raw, QUILTNODE)
            for raw in sorted(filter(decided, nodes), key=lambda raw: str(raw["metadata"]["name"]))
        ),
        *(kept(raw, QUILTSUBNET) for raw in sorted(claims, key=_address)),
    ]
    described = {f"backup.{GROUP}/{name}": text for name, text in about.items() if text}
    return {"apiVersion": "v1", "kind": "List", "metadata": {"annotations": described}, "items": items}


def text_of(backup: Json) -> str:
    """Return a backup as YAML."""
    # The parser of C, where there is one: thousands of claims are then a matter of a second.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return _HEAD + str(yaml.dump(backup, Dumper=dumper, sort_keys=False, allow_unicode=True, width=110))


def _address(claim: Json) -> tuple[int, int]:
    try:
        network = ip_network(claim["spec"]["cidr"])
    except (KeyError, ValueError):
        return 0, 0
    return network.version, int(network.network_address)

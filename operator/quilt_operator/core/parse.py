"""Objects as the API server sends them, turned into the operator's values.

These run for every watch event, and on objects that an older or newer schema wrote: they pick fields, never
raise, and leave judging what they picked to the rules that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quilt_crds.wire import QuiltSubnet
from quilt_kube.decoding import convert
from quilt_operator.core.model import Claim, Condition, KubeNode, Mesh, MeshNode

Raw = Mapping[str, Any]

# Node addresses that are really on the node (a Hostname or a DNS name confirms nothing).
_CONFIRMING = frozenset({"InternalIP", "ExternalIP"})


def mesh_node(raw: Raw) -> MeshNode:
    """The QuiltNode in `raw`."""
    meta, spec, status = _part(raw, "metadata"), _part(raw, "spec"), _part(raw, "status")
    return MeshNode(
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        version=version(raw),
        deleting=bool(meta.get("deletionTimestamp")),
        wanted_subnet=_text(spec, "subnet"),
        wanted_host_ip=_text(spec, "hostIP"),
        host_ip=_text(status, "hostIP"),
        phase=_text(status, "phase"),
        subnets=_texts(status, "subnets"),
        served=_texts(status, "servedSubnets"),
        mac=_text(status, "mac"),
        since=_text(status, "lastTransitionTime"),
        conditions=conditions(status),
    )


def kube_node(raw: Raw) -> KubeNode:
    """The Node in `raw`."""
    meta, spec, status = _part(raw, "metadata"), _part(raw, "spec"), _part(raw, "status")
    found = conditions(status)
    return KubeNode(
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        version=version(raw),
        addresses=frozenset(
            _text(item, "address")
            for item in _items(status, "addresses")
            if isinstance(item, Mapping) and item.get("type") in _CONFIRMING
        ),
        network_unavailable=any(c.type == "NetworkUnavailable" and c.status != "False" for c in found),
        pod_cidrs=_texts(spec, "podCIDRs"),
        pods=_count(_text(_part(status, "capacity"), "pods")),
    )


def claim(raw: Raw) -> Claim:
    """The QuiltSubnet in `raw`."""
    return claim_of(convert(raw, QuiltSubnet))


def claim_of(subnet: QuiltSubnet) -> Claim:
    """The claim that a QuiltSubnet is."""
    meta, spec, mesh = subnet.metadata, subnet.spec, subnet.mesh
    return Claim(
        name=meta.name,
        uid=meta.uid,
        version=meta.version,
        created=meta.creation_timestamp,
        cidr=spec.cidr,
        network=spec.network,
        node=spec.node,
        mesh=Mesh(mesh.phase, mesh.host_ip, mesh.released_at),
    )


def conditions(status: Raw) -> tuple[Condition, ...]:
    """The conditions in a status, in their order."""
    return tuple(
        Condition(
            type=_text(item, "type"),
            status=_text(item, "status"),
            reason=_text(item, "reason"),
            message=_text(item, "message"),
            since=_text(item, "lastTransitionTime"),
        )
        for item in _items(status, "conditions")
        if isinstance(item, Mapping)
    )


def name(raw: Raw) -> str:
    """metadata.name, or an empty string."""
    return _text(_part(raw, "metadata"), "name")


def version(raw: Raw) -> int:
    """metadata.resourceVersion as a number: comparable for one resource (KEP-5504); 0 when absent."""
    text = _text(_part(raw, "metadata"), "resourceVersion")
    return int(text) if text.isdecimal() else 0


def _count(text: str) -> int:
    """A quantity that is a plain number, as kubelets write that of pods; 0 for any other."""
    return int(text) if text.isdecimal() else 0


def _part(raw: Raw, key: str) -> Raw:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _items(raw: Raw, key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _texts(raw: Raw, key: str) -> tuple[str, ...]:
    return tuple(item for item in _items(raw, key) if isinstance(item, str))


def _text(raw: Raw, key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""

"""What is in an archive of `quiltctl sysdump`: its files, its index, and what is left out of objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct, field

from quilt_cli.core import redaction
from quilt_cli.core.finding import EXIT_HEALTHY, EXIT_PROBLEMS, Finding, fail
from quilt_cli.core.objects import at, text
from quilt_crds.names import NODE_DAEMONSET

INDEX = "index.json"
KERNEL, LATENCY, CHECK = "kernel.json", "latency.json", "check.json"
CHECKS = "checks"
"""The part of a node that is in CHECK."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_Fields = Mapping[str, "_Fields | None"]


def _only(*whole: str, **parts: _Fields) -> _Fields:
    """Fields of which everything is kept, and such of which some fields are."""
    return {**dict.fromkeys(whole), **parts}


_METADATA = _only("namespace", "name", "uid", "labels")
# Of what is not the mesh's: where policies, Services and ways lead, and who else is a pod network.
_OF_OTHERS = {
    "PodList": _only(
        metadata=_METADATA,
        spec=_only(
            "nodeName",
            "hostNetwork",
            containers=_only("ports"),
            initContainers=_only("ports", "restartPolicy"),
        ),
        status=_only("phase", "podIP", "podIPs"),
    ),
    "NamespaceList": _only(metadata=_METADATA),
    "ServiceList": _only(metadata=_METADATA, spec=_only("clusterIP", "clusterIPs", "ports")),
    "EndpointSliceList": _only("addressType", "endpoints", "ports", metadata=_METADATA),
    "NetworkPolicyList": _only("spec", metadata=_METADATA),
    "ClusterNetworkPolicyList": _only("spec", "status", metadata=_METADATA),
    "DaemonSetList": _only(
        metadata=_only("namespace", "name"),
        spec=_only(template=_only(spec=_only(volumes=_only("name", "hostPath")))),
    ),
}


class Refusal(Struct, frozen=True):
    """What the API server refused: HTTP's status, its message, its reason for programs."""

    status: int
    message: str
    reason: str = ""


class Missing(Struct, frozen=True, rename={"about": "object"}):
    """A part that is not in the archive: of which object, and why."""

    about: str
    part: str
    why: str


class Index(Struct, frozen=True, tag_field="kind", tag="QuiltSysdump"):
    """What an archive holds; `requests` are answers of the API server by what was asked (path and query).

    `nodes` are the nodes by the names of their pods, `missing` is what could not be read.
    """

    schema: int = 1
    taken: str = ""
    quiltctl: str = ""
    server: str = ""
    context: str = ""
    requests: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 complete, 1 something is missing."""
        return EXIT_PROBLEMS if self.missing else EXIT_HEALTHY


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the archive, or why it could not be read; `what` is its content in words."""

    about: str
    what: str
    name: str
    content: bytes = b""
    why: str = ""


def object_file(target: str) -> str:
    """The file of an answer of the API server: `objects/api/v1/nodes.json`."""
    path, _, query = unquote(target).strip("/").partition("?")
    chosen = "".join(letter if letter.isalnum() or letter in "._-=" else "_" for letter in query)
    return f"objects/{path}{'@' if chosen else ''}{chosen}.json"


def node_file(node: str, name: str) -> str:
    """A file about a node: `nodes/n1/kernel.json`."""
    return f"nodes/{node}/{name}"


def findings(missing: Iterable[Missing]) -> list[Finding]:
    """One for each object and reason, with all parts that are missing for it."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for item in missing:
        grouped.setdefault((item.about, item.why), []).append(item.part)
    return [
        fail("sysdump-incomplete", about, f"{', '.join(parts)}: {why}", "quiltctl status")
        for (about, why), parts in sorted(grouped.items())
    ]


def cleaned(answer: bytes) -> bytes:
    """An answer of the API server without environments, Secrets and tokens, and with little of others."""
    found = msgspec.json.decode(answer)
    if text(found, "kind") in _OF_OTHERS:
        found["items"] = cleaned_items(found)
    else:
        found = redaction.document(_without(found))
    return msgspec.json.format(msgspec.json.encode(found), indent=1)


def cleaned_items(found: Mapping[str, Any]) -> list[Any]:
    """The objects of a list, so cleaned: the mesh's whole, and of others what is needed."""
    # What is chosen holds no secret, and labels that are named like one decide for policies all the same.
    fields = _OF_OTHERS.get(text(found, "kind"))
    return [
        _chosen(item, fields) if fields and not _of_the_mesh(item) else redaction.document(_without(item))
        for item in found.get("items") or ()
    ]


def _of_the_mesh(item: Any) -> bool:
    labelled = text(at(item, "metadata", "labels"), "app.kubernetes.io/name") == "quilt-mesh"
    return labelled or text(item, "metadata", "name") == NODE_DAEMONSET


def _chosen(found: Any, fields: _Fields | None) -> Any:
    """Of a value, or of each in a list, these fields alone; all of it where they are None."""
    if fields is None:
        return found
    if isinstance(found, list):
        return [_chosen(item, fields) for item in found]
    if not isinstance(found, dict):
        return None
    return {name: _chosen(found[name], inner) for name, inner in fields.items() if name in found}


def _without(found: Any) -> Any:
    if isinstance(found, list):
        return [_without(item) for item in found]
    if not isinstance(found, dict):
        return found
    secret = found.get("kind") == "Secret"
    return {
        name: _environment(value) if name == "env" else _without(value)
        for name, value in found.items()
        if name not in {"managedFields", "envFrom", _LAST_APPLIED}
        # Of a Node: every image that it has.
        and not (name == "images" and "nodeInfo" in found)
        and not (secret and name in {"data", "stringData"})
    }


def _environment(found: Any) -> Any:
    """The names of variables, without what they are set to."""
    if not isinstance(found, list):
        return _without(found)
    return [{"name": item.get("name", "")} for item in found if isinstance(item, dict)]

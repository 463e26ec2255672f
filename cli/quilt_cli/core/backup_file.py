"""Reading a backup: every object of it is right, or nothing of it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

import yaml

from quilt_cli.core.backup import KINDS, decided, kept
from quilt_cli.core.claim_overlaps import overlapping
from quilt_cli.core.finding import StoppedError
from quilt_cli.core.known_fields import Schema, unknown
from quilt_crds.base import InvalidObjectError
from quilt_crds.cidrs import check_cidr
from quilt_crds.definition import Definition
from quilt_crds.definitions import DEFINITIONS
from quilt_crds.names import (
    API_VERSION,
    DEFAULT_NETWORK,
    DOWN,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    RELEASING,
    UP,
    claim_name,
)
from quilt_crds.wire import QuiltSubnet
from quilt_kube.decoding import convert
from quilt_kube.request import Json

_DEFINITIONS = {
    definition.resource.kind: definition for definition in DEFINITIONS if definition.resource in KINDS
}
# Of many mistakes the first ones: they tend to be one.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Backup:
    """The objects of a backup, each as it will be created."""

    network: Json | None = None
    nodes: tuple[Json, ...] = ()
    claims: tuple[Json, ...] = ()


def parse(text: str, file: str) -> Backup:
    """Read a backup: a List, or one object a document. StoppedError says what is wrong in it, and where."""
    items = list(_objects(text, file))
    found: dict[str, list[Json]] = {kind.kind: [] for kind in KINDS}
    problems, seen = [], set()
    for number, raw in enumerate(items, 1):
        name = _name(raw)
        about = f"object {number} ({raw.get('kind') or 'no kind'} {name or 'without a name'})"
        wrong = list(_problems(raw))
        if not wrong and (raw["kind"], name) in seen:
            wrong = ["it is there twice: take one of them out"]
        problems += [f"{about}: {text}" for text in wrong]
        if not wrong:
            seen.add((raw["kind"], name))
            found[raw["kind"]].append(kept(raw, _DEFINITIONS[raw["kind"]].resource))
    if not items:
        problems = ["there is no object in it"]
    claims = [convert(raw, QuiltSubnet) for raw in found[QUILTSUBNET.kind]]
    for claim, other in overlapping(claims):
        problems.append(f"QuiltSubnet {claim.name} overlaps {other.name}: one of them cannot be a node's")
    if problems:
        _stop(file, problems)
    networks = found[QUILTNETWORK.kind]
    return Backup(
        network=networks[0] if networks else None,
        nodes=tuple(filter(decided, found[QUILTNODE.kind])),
        claims=tuple(found[QUILTSUBNET.kind]),
    )


def _stop(file: str, problems: list[str]) -> None:
    shown = problems[:_SHOWN]
    if rest := len(problems) - len(shown):
        shown.append(f"… and {rest} more")
    listed = "".join(f"\n    {text}" for text in shown)
    todo = "correct these in a copy of the file, or take an earlier backup"
    raise StoppedError(f"{file} cannot be used, and nothing was written:{listed}\n    → {todo}")


def _objects(text: str, file: str) -> Iterator[Json]:
    try:
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "it is not YAML"
        raise StoppedError(
            f"{file} is neither YAML nor JSON, and nothing was written: {where}{what}\n"
            "    → was it copied whole? take another copy, or an earlier backup"
        ) from error
    for document in filter(None, documents):
        is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List")
        for item in (document.get("items") or []) if is_list else [document]:
            yield item if isinstance(item, dict) else {"kind": repr(item)[:40]}


def _name(raw: Json) -> str:
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _problems(raw: Json) -> Iterator[str]:
    definition = _DEFINITIONS.get(str(raw.get("kind")))
    if definition is None or raw.get("apiVersion") != API_VERSION:
        kinds = ", ".join(_DEFINITIONS)
        yield f"a backup holds {kinds} of {API_VERSION} alone: take it out"
    elif not _name(raw):
        yield "metadata.name has to be a text: put it in quotes"
    elif not all(isinstance(raw["metadata"].get(part) or {}, dict) for part in ("labels", "annotations")):
        yield "metadata.labels and annotations have to be names with texts"
    else:
        yield from _invalid(kept(raw, definition.resource), definition)


@cache
def _schema(kind: str) -> Schema:
    """Made of the model each time that it is asked for: once, not for each of thousands of claims."""
    return _DEFINITIONS[kind].schema()


def _invalid(raw: Json, definition: Definition) -> Iterator[str]:
    for path in unknown(raw, _schema(raw["kind"]), closed=True):
        yield f"{path} is no field of it: correct the name, or use the quiltctl that wrote the file"
    try:
        definition.model.parse(raw)
    except InvalidObjectError as error:
        yield str(error).partition(" is not valid: ")[2]
        return
    if definition.resource is QUILTNETWORK and _name(raw) != DEFAULT_NETWORK:
        yield f"a mesh has one QuiltNetwork, called {DEFAULT_NETWORK}"
    elif definition.resource is QUILTNODE:
        yield from _node(raw.get("spec") or {})
    elif definition.resource is QUILTSUBNET:
        yield from _claim(raw)


def _node(spec: Json) -> Iterator[str]:
    if subnet := spec.get("subnet"):
        yield from _cidr("spec.subnet", subnet)
    yield from _address("spec.hostIP", spec.get("hostIP"))
    for route in spec.get("routes") or ():
        if ("interface" in route) == ("bridgeMember" in route):
            yield f"spec.routes: {route['destination']} needs one of interface and bridgeMember"


def _claim(raw: Json) -> Iterator[str]:
    mesh, name = raw["mesh"], claim_name(raw["spec"]["cidr"])
    if raw["metadata"]["name"] != name:
        yield f"a claim of {raw['spec']['cidr']} is called {name}: which of them is wrong?"
    if mesh["phase"] not in (UP, DOWN, RELEASING):
        yield f"mesh.phase: {mesh['phase']!r} is not one of {UP}, {DOWN}, {RELEASING}"
    if mesh["phase"] == RELEASING and not mesh.get("releasedAt"):
        yield f"mesh.releasedAt: {RELEASING} needs the time at which that began"
    yield from _address("mesh.hostIP", mesh.get("hostIP"))


def _cidr(where: str, text: Any) -> Iterable[str]:
    try:
        check_cidr(text)
    except ValueError as error:
        return [f"{where}: {error}"]
    return []


def _address(where: str, text: Any) -> Iterable[str]:
    try:
        right = not text or str(ip_address(text)) == text
    except ValueError:
        right = False
    return [] if right else [f"{where}: {text!r} is not an address as it is written canonically"]

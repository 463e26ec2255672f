"""The structs that components decode say what the one description of the API says, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
import pytest

from quilt_crds import wire, wire_network, wire_policy
from quilt_crds.definitions import DEFINITIONS
from quilt_crds.names import QUILTENDPOINTS, QUILTNETWORK, QUILTNODE, QUILTPEERS, QUILTSUBNET
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.wire import Condition, Node, find_condition

EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
TYPES = {str: "string", int: "integer", bool: "boolean"}
ROOTS = {
    QUILTSUBNET.kind: (wire.QuiltSubnet, ""),
    QUILTNODE.kind: (wire.QuiltNode, ""),
    QUILTENDPOINTS.kind: (wire_policy.QuiltEndpoints, ""),
    QUILTPEERS.kind: (wire_policy.QuiltPeers, ""),
    QUILTNETWORK.kind: (wire_network.QuiltNetwork, ""),
    "spec of QuiltNetwork": (wire_network.QuiltNetworkSpec, "spec"),
}


def fields(kind: type[msgspec.Struct], path: str) -> Iterator[tuple[str, Any]]:
    """Dotted path on the wire and type of all fields of a struct, down to the last."""
    for field in msgspec.structs.fields(kind):
        here = f"{path}.{field.encode_name}".removeprefix(".")
        if here == "metadata":
            continue
        inner = get_args(field.type)[0] if get_origin(field.type) is tuple else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from fields(inner, here)
        else:
            yield here, inner


def described(kind: str) -> dict[str, Any]:
    definition = next(item for item in DEFINITIONS if item.resource.kind == kind)
    return definition.schema()


def part(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("."):
        schema = schema.get("items", schema)["properties"][name]
    return schema


@pytest.mark.parametrize("name", ROOTS)
def test_every_field_is_one_of_the_description_and_of_its_type(name: str) -> None:
    kind, path = ROOTS[name]
    schema = described(name.split()[-1])
    found = list(fields(kind, path))
    assert found
    for where, type_ in found:
        field = part(schema, where)
        field = field.get("items", field)
        if get_origin(type_) is dict:
            assert field["type"] == "object", where
        elif type_ in TYPES and "x-kubernetes-int-or-string" not in field:
            assert field["type"] == TYPES[type_], where


def test_the_defaults_of_the_network_are_those_of_the_description() -> None:
    defaults = {"clusterCIDRsV6": [], **QuiltNetworkSpec().wire()}
    for name, value in msgspec.json.decode(msgspec.json.encode(wire_network.QuiltNetworkSpec())).items():
        expected = {key: defaults[name][key] for key in value} if isinstance(value, dict) else defaults[name]
        assert value == expected, name


def test_a_network_that_cannot_be_used_says_which_field() -> None:
    with pytest.raises(ValueError, match=r"\$\.vxlan\.vni"):
        wire_network.QuiltNetworkSpec.read({"vxlan": {"vni": "abc"}})
    with pytest.raises(ValueError, match=r"192\.0\.2\.1/24 has host bits set - at .*underlay"):
        wire_network.QuiltNetworkSpec.read({"underlay": {"cidrs": ["192.0.2.1/24"]}})


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = Condition("Ready", "False", "Waiting", "no subnet yet").settled(None, EARLIER)
    assert Condition("Ready", "False", "Waiting", "no subnet yet").settled(first, LATER) == first
    reworded = Condition("Ready", "False", "Exhausted", "no subnet free").settled(first, LATER)
    assert reworded.last_transition_time == EARLIER
    changed = Condition("Ready", "True", "Routed").settled(reworded, LATER)
    assert msgspec.to_builtins(changed) == {
        "type": "Ready",
        "status": "True",
        "reason": "Routed",
        "message": "",
        "lastTransitionTime": LATER,
    }


def test_a_message_is_cut_to_the_limit_of_the_api() -> None:
    ready = Condition("Ready", "False", "Down", "x" * 2000).settled(None, EARLIER)
    assert len(ready.message) == 1024
    assert ready.settled(ready, LATER) == ready


def test_a_condition_is_found_by_its_type() -> None:
    held = [Condition("Ready", "True"), Condition("ClaimLost", "False")]
    assert find_condition(held, "ClaimLost") is held[1]
    assert find_condition(held, "Missing") is None


def test_what_a_node_says_of_itself() -> None:
    status = {
        "addresses": [
            {"type": "ExternalIP", "address": "198.51.100.1"},
            {"type": "Hostname", "address": "a.example"},
            {"type": "InternalIP", "address": "192.0.2.1"},
        ],
        "capacity": {"pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    node = msgspec.convert({"metadata": {"name": "a", "resourceVersion": "7"}, "status": status}, Node)
    assert node.ips == ("192.0.2.1", "198.51.100.1")
    assert node.internal_ips == ("192.0.2.1",)
    assert (node.pods, node.metadata.version) == (110, 7)
    assert node.condition("Ready") == Condition("Ready", "True")
    assert (Node().pods, Node().metadata.version) == (0, 0)


def test_a_node_that_was_only_prepared_was_never_reported() -> None:
    by_operator = wire.QuiltNodeStatus(phase="Pending", conditions=(Condition("Ready", "False"),))
    assert not wire.QuiltNode(status=by_operator).reported
    by_agent = wire.QuiltNodeStatus(conditions=(Condition("RuntimeReady", "False"),))
    assert wire.QuiltNode(status=by_agent).reported
    assert wire.QuiltNode(status=wire.QuiltNodeStatus(host_ip="192.0.2.1")).reported

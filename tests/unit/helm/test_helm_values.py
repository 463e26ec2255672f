"""The chart's values: every default is valid, no unknown key passes, the network part agrees with the CRD."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from quilt_crds.definitions import NETWORK
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.schema import schema_at

CHART = Path(__file__).parents[3] / "helm/quilt-mesh"
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# What is handed on to Kubernetes has fields that the chart sets none of.
AS_IN_A_POD = ("resources", "affinity", "seLinuxOptions", "appArmorProfile")


def valid(values: dict[str, Any]) -> bool:
    return bool(Draft7Validator(SCHEMA).is_valid(values))


def sections(
    values: dict[str, Any], schema: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object among the values whose keys the chart defines."""
    if schema.get("additionalProperties") is False:
        yield path, values
        for name, part in schema["properties"].items():
            resolved = SCHEMA["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
            if isinstance(values.get(name), dict):
                yield from sections(values[name], resolved, f"{path}.{name}".removeprefix("."))


def test_the_defaults_are_valid_and_complete() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert valid(VALUES)
    for path, section in sections(VALUES, SCHEMA):
        schema = SCHEMA
        for name in filter(None, path.split(".")):
            schema = schema["properties"][name]
            schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        if not path.endswith(AS_IN_A_POD):
            assert schema["properties"].keys() - {"global"} == section.keys(), path


@pytest.mark.parametrize("path", [path for path, _ in sections(VALUES, SCHEMA)])
def test_row_25_an_unknown_key_is_refused_at_every_level(path: str) -> None:
    values = copy.deepcopy(VALUES)
    target = values
    for name in filter(None, path.split(".")):
        target = target[name]
    target["typo"] = 1
    assert not valid(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network.clusterCIDRs", []),
        ("network.clusterCIDRs", ["fd00::/48"]),
        ("network.clusterCIDRsV6", ["10.0.0.0/8"]),
        ("network.clusterCIDRsV6", ["::/16"]),
        ("network.nodePrefixLength", 8),
        ("network.heartbeat.interval", 10),
        ("network.underlay.interface", ["eth1"]),
        ("network.underlay.interface", "eth1, bond0"),
        ("network.underlay.cidrs", "192.0.2.0/24"),
        ("network.underlay.cidrs", ["eth1"]),
        ("network.vxlan.mtu", "1450"),
        ("network.vxlan.device", "a-name-that-is-too-long"),
        ("network.disruptionThreshold", "155%"),
        ("network.ipam.mode", "other"),
        ("logLevel", "INFO"),
        ("apiServer.host", "10.0.0.1"),
        ("apiServer.port", 6443),
        ("operator.replicas", 0),
        ("node.maxUnavailable", 0),
        ("node.updateStrategy", "Recreate"),
        ("cni.binDir", "opt/cni/bin"),
        ("agent.healthPort", 70000),
        ("runtime.grpcAddr", "0.0.0.0:50051"),
    ],
)
def test_a_wrong_value_is_refused(path: str, value: object) -> None:
    assert not valid(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network.underlay.interface", "eth1,bond*"),
        ("network.underlay.cidrs", ["192.0.2.0/24", "2001:db8::/32"]),
        ("network.vxlan.mtu", 1450),
        ("network.clusterCIDRsV6", ["fd42::/48"]),
        ("node.maxUnavailable", "10%"),
        ("node.updateStrategy", "OnDelete"),
        ("apiServer", {"host": "10.0.0.1", "port": 6443}),
        ("operator.resources", {"limits": {"memory": "256Mi", "cpu": 1}}),
        ("image.pullSecrets", [{"name": "registry"}]),
        ("runtime.grpcAddr", "127.0.0.1:50051"),
        ("global", {}),
    ],
)
def test_a_right_value_is_accepted(path: str, value: object) -> None:
    assert valid(changed(path, value))


def test_an_address_beyond_loopback_needs_mutual_tls() -> None:
    values = changed("runtime", {**VALUES["runtime"], "grpcAddr": "0.0.0.0:50051"})
    assert not valid(values)
    values["runtime"]["tlsSecret"] = "runtime-tls"
    assert valid(values)


def changed(path: str, value: object) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    target = values
    *parents, last = path.split(".")
    for name in parents:
        target = target[name]
    target[last] = value
    return values


def test_the_network_values_are_the_crds_defaults_and_bounds() -> None:
    network = copy.deepcopy(VALUES["network"])
    assert network.pop("clusterCIDRsV6") == []
    assert network == QuiltNetworkSpec().wire()
    crd = schema_at(NETWORK.schema(), "spec")
    for path, chart, api in pairs(SCHEMA["properties"]["network"], crd):
        for key in ("minimum", "maximum", "enum", "maxLength", "maxItems"):
            if key in chart and key in api:
                assert chart[key] == api[key], f"{path} {key}"


def pairs(
    chart: dict[str, Any], api: dict[str, Any], path: str = "network"
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each part of the chart's schema beside that of the CRD's; both must name the same properties."""
    if "$ref" in chart:
        chart = SCHEMA["$defs"][chart["$ref"].rsplit("/", 1)[1]]
    yield path, chart, api
    assert chart.get("properties", {}).keys() == api.get("properties", {}).keys(), path
    for name, part in chart.get("properties", {}).items():
        yield from pairs(part, api["properties"][name], f"{path}.{name}")


def test_the_notes_name_the_pods_that_find_an_address() -> None:
    """u5: The notes of an install with short subnets name how many pods fit, and that a kubelet runs 110."""
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    named = {int(length): int(pods) for length, pods in re.findall(r'"(\d\d)" (\d+)', notes)}
    lengths = range(16, 29)
    assert named == {length: 2 ** (32 - length) - 3 for length in lengths if 2 ** (32 - length) - 3 < 110}
    assert "110" in notes

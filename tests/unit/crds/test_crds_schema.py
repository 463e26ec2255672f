"""The generated files are up to date, every schema is structural and bounded, as the API server demands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quilt_crds.definition import Definition
from quilt_crds.definitions import DEFINITIONS
from quilt_crds.generate import ROOT, TEMPLATES, VALUES_SCHEMA, main
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.schema import schema_at

FORBIDDEN = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "title", "additionalProperties"}


def load(definition: Definition) -> dict[str, Any]:
    path = ROOT / TEMPLATES / f"{definition.resource.plural}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def schema_of(definition: Definition) -> dict[str, Any]:
    schema: dict[str, Any] = load(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from walk(part, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def test_the_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0, "run: python -m quilt_crds.generate"


def test_check_notices_a_stale_a_missing_and_a_surplus_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / VALUES_SCHEMA).parent.mkdir(parents=True)
    (tmp_path / VALUES_SCHEMA).write_text('{"properties": {}}')
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    folder = tmp_path / TEMPLATES
    (folder / "quiltnodes.yaml").write_text("stale\n")
    (folder / "quiltsubnets.yaml").unlink()
    (folder / "surplus.yaml").write_text("")
    capsys.readouterr()
    assert main(["--root", str(tmp_path), "--check"]) == 1
    errors = capsys.readouterr().err
    assert [name in errors for name in ("quiltnodes", "quiltsubnets", "surplus")] == [True] * 3
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.resource.kind)
def test_every_schema_is_structural_and_bounded(definition: Definition) -> None:
    for path, part in walk(schema_of(definition)):
        assert not FORBIDDEN & part.keys(), path
        if "x-kubernetes-int-or-string" in part:
            assert "type" not in part, path
            continue
        assert part["type"] in {"object", "array", "string", "integer", "boolean"}, path
        if part["type"] == "array":
            # No rule looks into a node's list of pods.
            assert part["maxItems"] <= (4096 if path == ".spec.endpoints" else 64), path
        if part["type"] == "string" and path not in (".apiVersion", ".kind"):
            assert part.keys() & {"maxLength", "enum"} or part.get("format") == "date-time", path


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.resource.kind)
def test_helm_keeps_the_crd_and_nobody_else_gets_defaults(definition: Definition) -> None:
    crd = load(definition)
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    with_default = {path.split(".")[1] for path, part in walk(schema_of(definition)) if "default" in part}
    assert with_default == ({"spec"} if definition.resource.kind == "QuiltNetwork" else set())


def test_subresources_columns_and_selectable_fields() -> None:
    versions = {
        definition.resource.short: load(definition)["spec"]["versions"][0] for definition in DEFINITIONS
    }
    assert [short for short, version in versions.items() if "subresources" in version] == ["qnet", "qn"]
    assert versions["qs"]["selectableFields"] == [{"jsonPath": ".spec.node"}]
    columns = versions["qn"]["additionalPrinterColumns"]
    narrow = [column["name"].upper() for column in columns if not column.get("priority")]
    wide = [column["name"].upper() for column in columns if column.get("priority")]
    assert narrow == ["STATUS", "SUBNET", "HOST-IP", "AGENT", "PEERS", "AGE"]
    assert wide == ["SUBNETS", "MAC", "VERSION", "CPU", "RAM", "REASON"]


def test_lists_merge_by_key_under_server_side_apply() -> None:
    network, node, *_ = DEFINITIONS
    conditions = schema_at(schema_of(node), "status.conditions")
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert schema_at(schema_of(network), "spec.clusterCIDRs")["x-kubernetes-list-type"] == "set"


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        ("QuiltSubnet", "", "'metadata.name must be '"),
        ("QuiltSubnet", "spec.cidr", "must be a canonical CIDR without host bits"),
        ("QuiltSubnet", "mesh", "Releasing needs releasedAt"),
        ("QuiltSubnet", "mesh.hostIP", "must be an IP address in canonical form"),
        ("QuiltNetwork", "spec.underlay.cidrs", "must be canonical CIDRs without host bits"),
        ("QuiltEndpoints", "", "metadata.name must be spec.node"),
        ("QuiltEndpoints", "spec", "pods must be the number of endpoints"),
        ("QuiltNode", "spec.subnet", "must be a canonical CIDR without host bits"),
        ("QuiltNode", "spec.hostIP", "must be an IP address in canonical form"),
        ("QuiltNode", "status.hostIP", "must be an IP address in canonical form"),
        ("QuiltNode", "spec.routes", "a route needs one of interface and bridgeMember"),
        ("QuiltNode", "spec.routes", "destinations must be IPv4 CIDRs"),
    ],
)
def test_what_is_malformed_is_refused_by_the_api_server_with_words(kind: str, path: str, words: str) -> None:
    definition = next(definition for definition in DEFINITIONS if definition.resource.kind == kind)
    rules = schema_at(schema_of(definition), path)["x-kubernetes-validations"]
    assert any(words in rule.get("message", rule.get("messageExpression")) for rule in rules)


@pytest.mark.parametrize(("mac", "fits"), [("02:00:00:00:00:22", True), ("01:00:5e:00:00:01", False)])
def test_a_member_of_a_bridge_is_the_mac_of_a_network_card(mac: str, fits: bool) -> None:
    route = schema_at(schema_of(DEFINITIONS[1]), "spec.routes")["items"]
    assert bool(re.search(schema_at(route, "bridgeMember")["pattern"], mac)) is fits


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("10.42.1.7", True),
        ("255.0.0.255", True),
        ("10.42.1.256", False),
        ("010.42.1.7", False),
        ("::1", False),
    ],
)
def test_an_endpoint_has_an_ipv4_address(address: str, fits: bool) -> None:
    endpoint = schema_at(schema_of(DEFINITIONS[3]), "spec.endpoints")["items"]
    assert bool(re.search(schema_at(endpoint, "address")["pattern"], address)) is fits


def test_the_defaults_of_the_crd_are_those_of_the_model() -> None:
    def defaults(schema: dict[str, Any]) -> dict[str, Any]:
        return {
            name: defaults(part) if "properties" in part else part["default"]
            for name, part in schema["properties"].items()
            if "default" in part
        }

    network = next(definition for definition in DEFINITIONS if definition.resource.kind == "QuiltNetwork")
    assert defaults(schema_at(schema_of(network), "spec")) == QuiltNetworkSpec().wire()

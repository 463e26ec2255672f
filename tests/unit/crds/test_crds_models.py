"""The models accept what the API server sends, refuse what it would refuse, and say why in words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.base import InvalidObjectError
from quilt_crds.durations import DURATION_PATTERN, parse_duration, parse_percent
from quilt_crds.names import UP, wire_name
from quilt_crds.quiltnetwork import QuiltNetwork, QuiltNetworkSpec
from quilt_crds.quiltnode import QuiltNode
from quilt_crds.quiltsubnet import QuiltSubnet

SUBNET: dict[str, Any] = {
    "metadata": {"name": "10.42.1.0-24", "uid": "u", "resourceVersion": "7", "managedFields": [{}]},
    "spec": {"cidr": "10.42.1.0/24", "network": "default", "node": "worker-1"},
    "mesh": {"phase": "Up", "hostIP": "192.0.2.1"},
}
NODE: dict[str, Any] = {
    "metadata": {"name": "worker-1", "ownerReferences": [{"kind": "Node", "name": "worker-1"}]},
    "spec": {},
    "status": {
        "hostIP": "192.0.2.1",
        "hostname": "worker-1",
        "cpuCores": 2,
        "memoryMB": 24000,
        "version": "0.1.0",
        "servedSubnets": ["10.42.1.0/24"],
        "phase": "Up",
        "subnets": ["10.42.1.0/24"],
        "mac": "9e:fb:36:11:7d:50",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Routed",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
}


@pytest.mark.parametrize(
    ("field", "wire"),
    [
        ("cluster_cidrs_v6", "clusterCIDRsV6"),
        ("node_prefix_length_v6", "nodePrefixLengthV6"),
        ("host_ip", "hostIP"),
        ("memory_mb", "memoryMB"),
        ("last_transition_time", "lastTransitionTime"),
        ("mac", "mac"),
    ],
)
def test_wire_names(field: str, wire: str) -> None:
    assert wire_name(field) == wire


def test_quiltsubnet_round_trip() -> None:
    subnet = QuiltSubnet.parse(SUBNET)
    assert subnet.mesh.phase == UP
    assert subnet.metadata.resource_version == "7"
    assert subnet.spec.wire() == SUBNET["spec"]
    assert subnet.mesh.wire() == SUBNET["mesh"]


def test_quiltnode_round_trip() -> None:
    node = QuiltNode.parse(NODE)
    assert node.status.phase == UP
    assert node.status.wire() == NODE["status"]
    assert node.spec.subnet == ""


def test_an_empty_network_spec_has_the_documented_defaults() -> None:
    spec = QuiltNetwork.parse({"metadata": {"name": "default"}, "spec": {}}).spec
    assert spec.cluster_cidrs == ["10.42.0.0/16"]
    assert (spec.node_prefix_length, spec.vxlan.vni, spec.vxlan.mtu) == (24, 100, "auto")
    texts = (spec.heartbeat.interval, spec.heartbeat.timeout, spec.reuse_grace_period)
    assert tuple(map(parse_duration, texts)) == (10, 30, 600)
    assert parse_percent(spec.disruption_threshold) == 0.55
    assert QuiltNetworkSpec.parse(spec.wire()) == spec


def test_fields_of_a_newer_schema_are_ignored() -> None:
    assert QuiltNetworkSpec.parse({"encryption": {"mode": "new"}}) == QuiltNetworkSpec()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"clusterCIDRs": ["10.42.0.1/16"]},
            "clusterCIDRs.0: '10.42.0.1/16' is not canonical; write 10.42.0.0/16",
        ),
        ({"clusterCIDRs": ["10.42.0.0/16", "10.42.3.0/24"]}, "10.42.0.0/16 and 10.42.3.0/24 overlap"),
        ({"clusterCIDRs": ["fd00::/48"]}, "fd00::/48 is in the list of IPv4 ranges"),
        (
            {"clusterCIDRs": ["10.42.1.0/25"]},
            "nodePrefixLength is /24, a node's subnet would not fit into 10.42.1.0/25",
        ),
        (
            {"clusterCIDRsV6": ["fd42::/48"], "nodePrefixLengthV6": 121},
            "nodePrefixLengthV6 is /121, which has fewer addresses than nodePrefixLength's /24",
        ),
        ({"clusterCIDRs": []}, "clusterCIDRs: "),
        ({"clusterCIDRs": ["banana"]}, "'banana' is not a CIDR; write for example 10.42.1.0/24"),
        ({"nodePrefixLength": "24"}, "nodePrefixLength: Input should be a valid integer"),
        (
            {"vxlan": {"mtu": "large"}},
            "vxlan.mtu: 'large' is not an MTU; write auto or a number from 1280 to 65000",
        ),
        ({"vxlan": {"mtu": 100}}, "100 is not an MTU"),
        (
            {"underlay": {"interface": "eth1, bond0"}},
            "'eth1, bond0' names no interfaces; write for example eth1",
        ),
        ({"underlay": {"interface": "eth1,"}}, "'eth1,' names no interfaces"),
        ({"underlay": {"interface": "a-name-longer-than-15"}}, "names no interfaces"),
        ({"underlay": {"cidrs": ["192.0.2.1/24"]}}, "is not canonical; write 192.0.2.0/24"),
        ({"vxlan": {"device": "vxlan/100"}}, "'vxlan/100' is not an interface name"),
        ({"heartbeat": {"interval": "ten"}}, "'ten' is not a duration; write for example 10s"),
        ({"heartbeat": {"timeout": "15s"}}, "timeout is 15s, must be at least twice the interval of 10s"),
        ({"disruptionThreshold": "0.55"}, "'0.55' is not a percentage; write for example 55%"),
        ({"nodeDownPolicy": "Drop"}, "nodeDownPolicy: Input should be 'Withdraw' or 'Keep'"),
    ],
)
def test_a_refusal_names_the_object_the_field_and_what_to_write(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        QuiltNetworkSpec.parse(spec, "QuiltNetwork default")
    assert str(caught.value).startswith("QuiltNetwork default is not valid: ")
    assert message in str(caught.value)


def test_a_claim_without_a_node_is_refused() -> None:
    with pytest.raises(InvalidObjectError, match=r"spec\.node: Field required"):
        QuiltSubnet.parse(SUBNET | {"spec": {"cidr": "10.42.1.0/24", "network": "default"}})


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.text(alphabet="0123456789.smh -+٣\n", max_size=8))
def test_a_text_is_a_duration_or_refused(text: str) -> None:
    if re.fullmatch(DURATION_PATTERN, text, re.ASCII) and text == text.strip():
        assert parse_duration(text) >= 0
    else:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)


def test_percentages() -> None:
    assert parse_percent("55%") == 0.55
    for text in ("101%", "55", "-1%", "5.5%", "055%", "55%\n"):
        with pytest.raises(ValueError, match="is not a percentage"):
            parse_percent(text)


def test_a_nodes_routes_are_read_and_written_alike() -> None:
    routes = [{"destination": "10.60.0.0/24", "bridgeMember": "02:00:00:00:00:22"}]
    node = QuiltNode.parse({**NODE, "spec": {"routes": routes}})
    assert node.wire()["spec"]["routes"] == routes

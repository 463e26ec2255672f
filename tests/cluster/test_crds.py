"""What the API server accepts as an object of the mesh from any client: CRD rules and the claim policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quilt_crds.names import (
    OPERATOR_FIELD_MANAGER,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
)
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from tests.support.controlplane import Api, ControlPlane, Json, claim, control_plane, thing
from tests.support.operators import eventually


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """The chart installed, without a QuiltNetwork yet."""
    with control_plane("crds") as plane:
        plane.install()
        yield plane


@pytest.fixture(scope="module")
def network(plane: ControlPlane) -> Json:
    """The network `default` as the server completed it."""
    plane.admin.create(QUILTNETWORK.path(), thing(QUILTNETWORK, "default", spec={}))
    trial = QUILTSUBNET.path() + "?dryRun=All", claim("10.42.250.0/24")
    eventually(lambda: plane.admin.create(*trial).status == 201, "the policy for claims sees it")
    return plane.admin.get(QUILTNETWORK.path("default")).ok()


@pytest.fixture(scope="module")
def operator(plane: ControlPlane) -> Api:
    """The operator's account."""
    return plane.account("quilt-operator")


def test_without_a_network_nobody_claims(plane: ControlPlane) -> None:
    # Runs before the fixture `network` of the tests below.
    answer = plane.admin.create(QUILTSUBNET.path(), claim("10.42.1.0/24"))
    answer.refused(422, "no params found for policy binding")


def test_the_server_completes_an_empty_network(network: Json) -> None:
    assert network["spec"] == QuiltNetworkSpec().wire()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"clusterCIDRs": ["10.42.0.1/16"]}, "spec.clusterCIDRs: Invalid value: must be canonical CIDRs"),
        ({"clusterCIDRs": ["banana"]}, "must be canonical CIDRs without host bits"),
        ({"clusterCIDRs": ["10.42.0.0/16", "10.42.3.0/24"]}, "CIDRs must not overlap"),
        ({"clusterCIDRs": ["10.42.0.0/16", "10.42.0.0/16"]}, "Duplicate value"),
        ({"clusterCIDRs": ["fd42::/48"]}, "must be IPv4 CIDRs"),
        ({"clusterCIDRs": []}, "should have at least 1 items"),
        ({"clusterCIDRs": ["10.42.0.0/25"]}, "nodePrefixLength must not be shorter"),
        ({"clusterCIDRsV6": ["10.43.0.0/16"]}, "must be IPv6 CIDRs"),
        ({"clusterCIDRsV6": ["FD42::/48"]}, "must be canonical CIDRs"),
        ({"clusterCIDRsV6": ["::/16"]}, "must not begin with ::"),
        ({"clusterCIDRsV6": ["fd42::/72"]}, "nodePrefixLengthV6 must not be shorter"),
        (
            {"clusterCIDRsV6": ["fd42::/48"], "nodePrefixLengthV6": 124},
            "nodePrefixLengthV6 must leave room for as many pods",
        ),
        ({"nodePrefixLength": 30}, "should be less than or equal to 28"),
        ({"underlay": {"interface": "eth1, bond0"}}, "spec.underlay.interface"),
        ({"underlay": {"cidrs": ["192.0.2.1/24"]}}, "must be canonical CIDRs without host bits"),
        ({"vxlan": {"mtu": "large"}}, "must be auto or a number from 1280 to 65000"),
        ({"vxlan": {"mtu": 100}}, "must be auto or a number from 1280 to 65000"),
        ({"vxlan": {"device": "vx/100"}}, "spec.vxlan.device"),
        ({"heartbeat": {"interval": "ten"}}, "spec.heartbeat.interval"),
        ({"heartbeat": {"interval": "100ms"}}, "interval must be at least 1s"),
        ({"heartbeat": {"timeout": "15s"}}, "timeout must be at least twice the interval"),
        ({"disruptionThreshold": "0.55"}, "spec.disruptionThreshold"),
        ({"nodeDownPolicy": "Drop"}, "spec.nodeDownPolicy: Unsupported value"),
    ],
)
def test_a_network_that_cannot_work_is_refused(plane: ControlPlane, spec: Json, words: str) -> None:
    body = thing(QUILTNETWORK, "default", spec=spec)
    plane.admin.create(QUILTNETWORK.path() + "?dryRun=All", body).refused(422, words)


@pytest.mark.parametrize(
    "spec",
    [
        {"vxlan": {"mtu": 1450}},
        {"underlay": {"interface": "eth1,bond*", "cidrs": ["192.0.2.0/24", "192.0.0.0/16", "2001:db8::/32"]}},
        {"clusterCIDRs": ["10.42.0.0/16", "10.44.0.0/16"], "clusterCIDRsV6": ["fd42::/48"]},
        {"heartbeat": {"interval": "1.5s", "timeout": "1m30s", "source": "Agent"}},
    ],
)
def test_a_network_that_can_work_is_accepted(plane: ControlPlane, network: Json, spec: Json) -> None:
    plane.admin.merge(QUILTNETWORK.path("default") + "?dryRun=All", {"spec": spec}).ok()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"nodePrefixLength": 25}, "spec.nodePrefixLength: Forbidden: is immutable"),
        ({"nodePrefixLengthV6": 80}, "spec.nodePrefixLengthV6: Forbidden: is immutable"),
        ({"clusterCIDRs": ["10.44.0.0/16"]}, "may only be extended"),
    ],
)
def test_what_nodes_live_on_cannot_be_changed(
    plane: ControlPlane, network: Json, spec: Json, words: str
) -> None:
    plane.admin.merge(QUILTNETWORK.path("default"), {"spec": spec}).refused(422, words)


def test_there_is_one_network(plane: ControlPlane) -> None:
    answer = plane.admin.create(QUILTNETWORK.path(), thing(QUILTNETWORK, "second", spec={}))
    answer.refused(422, "the mesh has one QuiltNetwork, named default")


def test_an_administrators_extension_survives_the_operators_next_apply(
    plane: ControlPlane, operator: Api, network: Json
) -> None:
    path = QUILTNETWORK.path("default")
    chart = thing(QUILTNETWORK, "default", spec={"clusterCIDRs": ["10.42.0.0/16"]})
    operator.apply(path, chart, OPERATOR_FIELD_MANAGER).ok()
    extended = {"spec": {"clusterCIDRs": ["10.42.0.0/16", "10.60.0.0/16"]}}
    plane.admin.merge(path + "?fieldManager=kubectl-edit", extended).ok()
    after = operator.apply(path, chart, OPERATOR_FIELD_MANAGER).ok()
    assert after["spec"]["clusterCIDRs"] == ["10.42.0.0/16", "10.60.0.0/16"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (claim("10.42.9.0/24", metadata={"name": "mine"}), "metadata.name must be 10.42.9.0-24"),
        (claim("10.42.9.1/24"), "must be a canonical CIDR without host bits"),
        (claim("10.42.9.0/25"), "10.42.9.0/25 is not a node subnet of QuiltNetwork default"),
        (claim("10.99.9.0/24"), "10.99.9.0/24 is not a node subnet of QuiltNetwork default"),
        (claim("fd42:0:0:1::/64"), "is not a node subnet of QuiltNetwork default"),
        (
            claim("10.42.9.0/24", spec={"cidr": "10.42.9.0/24", "network": "other", "node": "n"}),
            "there is no QuiltNetwork other, only default",
        ),
        (claim("10.42.9.0/24", mesh={"phase": "Releasing"}), "Releasing needs releasedAt"),
        (claim("10.42.9.0/24", mesh={"phase": "Up", "hostIP": "192.0.2.300"}), "must be an IP address"),
        (claim("10.42.9.0/24", mesh={"phase": "Gone"}), "mesh.phase: Unsupported value"),
        (claim("10.42.9.0/24", mesh={}), "mesh.phase: Required value"),
    ],
)
def test_a_claim_that_is_none_is_refused(operator: Api, network: Json, body: Json, words: str) -> None:
    operator.create(QUILTSUBNET.path(), body).refused(422, words)


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ([{"destination": "10.60.0.1/24", "interface": "br0"}], "canonical CIDRs without host bits"),
        ([{"destination": "fd60::/64", "interface": "br0"}], "destinations must be IPv4 CIDRs"),
        ([{"destination": "10.60.0.0/24"}], "needs one of interface and bridgeMember"),
        (
            [{"destination": "10.60.0.0/24", "interface": "br0", "bridgeMember": "02:00:00:00:00:22"}],
            "needs one of interface and bridgeMember",
        ),
        ([{"destination": "10.60.0.0/24", "bridgeMember": "01:00:5e:00:00:01"}], "should match"),
        ([{"destination": "10.60.0.0/24", "interface": name} for name in ("a", "b")], "Duplicate value"),
    ],
)
def test_a_route_of_a_node_that_is_none_is_refused(
    plane: ControlPlane, network: Json, routes: list[Json], words: str
) -> None:
    body = thing(QUILTNODE, "worker-r", spec={"routes": routes})
    plane.admin.create(QUILTNODE.path() + "?dryRun=All", body).refused(422, words)


def test_routes_of_a_node_are_kept_as_written(plane: ControlPlane, network: Json) -> None:
    routes = [
        {"destination": "10.60.0.0/24", "interface": "br0"},
        {"destination": "10.61.0.0/24", "bridgeMember": "02:00:00:00:00:22"},
    ]
    body = thing(QUILTNODE, "worker-r", spec={"routes": routes})
    made = plane.admin.create(QUILTNODE.path() + "?dryRun=All", body).ok()
    assert made["spec"] == {"routes": routes}


def test_a_claim_is_published_changed_and_found_by_node(operator: Api, network: Json) -> None:
    made = operator.create(QUILTSUBNET.path(), claim("10.42.1.0/24")).ok()
    assert made["mesh"]["hostIP"] == "192.0.2.1", "claim and publication are one request"
    operator.create(QUILTSUBNET.path(), claim("10.42.1.0/24", node="worker-2")).refused(409, "already exists")
    path = QUILTSUBNET.path("10.42.1.0-24")
    assert operator.merge(path, {"mesh": {"phase": "Down"}}).ok()["mesh"]["phase"] == "Down"
    operator.merge(path, {"spec": {"node": "worker-2"}}).refused(422, "spec: Forbidden: is immutable")
    operator.create(QUILTSUBNET.path(), claim("10.42.2.0/24", node="worker-2", mesh={"phase": "Up"})).ok()
    found = operator.get(QUILTSUBNET.path() + "?fieldSelector=spec.node%3Dworker-2").ok()
    assert [item["spec"]["cidr"] for item in found["items"]] == ["10.42.2.0/24"]


def test_kubectl_shows_the_columns_that_people_read(plane: ControlPlane, operator: Api) -> None:
    plane.admin.create(QUILTNODE.path(), thing(QUILTNODE, "worker-1", spec={})).ok()
    body = thing(QUILTNODE, "worker-1", status={"phase": "Up", "subnets": ["10.42.1.0/24"]})
    operator.apply(QUILTNODE.path("worker-1", "status"), body, OPERATOR_FIELD_MANAGER).ok()
    header, row, *_ = plane.cluster.kubectl("get", "qn").splitlines()
    assert header.split() == ["NAME", "STATUS", "SUBNET", "HOST-IP", "AGENT", "PEERS", "AGE"]
    assert row.split()[:3] == ["worker-1", "Up", "10.42.1.0/24"]
    wide = plane.cluster.kubectl("get", "quiltnodes", "-o", "wide").splitlines()[0].split()
    assert wide[-6:] == ["SUBNETS", "MAC", "VERSION", "CPU", "RAM", "REASON"]

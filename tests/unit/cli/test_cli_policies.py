"""`quiltctl ip` and `quiltctl policy`, against an HTTP server that answers like a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quilt_cli.main import cli
from quilt_crds.names import (
    CLUSTERNETWORKPOLICY,
    NAMESPACE,
    NETWORKPOLICY,
    NODE,
    POD,
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTNODE,
)
from tests.support.cli_fakeapi import FakeApi

Json = dict[str, Any]


def pod(name: str, app: str) -> Json:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": {"app": app}}
    return {"metadata": meta, "spec": {"nodeName": "n1"}}


def endpoint(name: str, address: str) -> Json:
    return {"uid": f"uid-{name}", "namespace": "shop", "name": name, "address": address}


POLICY = {
    "metadata": {"name": "db", "namespace": "shop"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 5432}]},
        ],
    },
}
UNSUPPORTED = {
    "metadata": {"name": "names"},
    "spec": {
        "tier": "Admin",
        "priority": 5,
        "subject": {"namespaces": {}},
        "egress": [{"action": "Accept", "to": [{"domainNames": ["example.com"]}]}],
    },
    "status": {"conditions": [{"type": "quilt.io/Accepted", "status": "False", "message": "no domainNames"}]},
}


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> str:
    pods = [endpoint("web-1", "10.42.1.7"), endpoint("db-0", "10.42.1.8")]
    subnets = ["10.42.1.0/24", "fd42:0:0:1::/64"]
    lists = {
        QUILTENDPOINTS: [{"metadata": {"name": "n1"}, "spec": {"node": "n1", "endpoints": pods}}],
        QUILTNODE: [{"metadata": {"name": "n1"}, "status": {"hostIP": "192.0.2.11", "subnets": subnets}}],
        POD: [pod("web-1", "web"), pod("db-0", "db")],
        NAMESPACE: [{"metadata": {"name": "shop"}}],
        NETWORKPOLICY: [POLICY],
        CLUSTERNETWORKPOLICY: [UNSUPPORTED],
        NODE: [{"metadata": {"name": "n1"}}],
    }
    for kind, items in lists.items():
        api.answers[kind.path()] = (200, {"items": items})
    enforce(api, True)
    return str(api.kubeconfig(tmp_path))


def enforce(api: FakeApi, on: bool) -> None:
    spec = {"policy": {"enabled": on}}
    api.answers[QUILTNETWORK.path("default")] = (200, {"metadata": {"name": "default"}, "spec": spec})


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize(
    ("address", "shown", "code"),
    [
        ("10.42.1.7", "10.42.1.7  pod shop/web-1 on node n1", 0),
        ("fd42:0:0:1::7", "fd42:0:0:1::7  pod shop/web-1 on node n1", 0),
        ("10.42.1.0", "10.42.1.0  an address of the node itself on node n1", 0),
        ("192.0.2.11", "192.0.2.11  an address of the node itself on node n1", 0),
        ("10.42.1.9", "10.42.1.9  in the node's subnet, but no pod has it on node n1", 1),
        ("198.51.100.1", "198.51.100.1  no pod's address, and in no node's subnet", 1),
    ],
)
def test_whose_an_address_is(kubeconfig: str, address: str, shown: str, code: int) -> None:
    done = run("ip", address, "--kubeconfig", kubeconfig)
    assert (done.output.strip(), done.exit_code) == (shown, code)


def test_whose_an_address_is_for_programs(kubeconfig: str) -> None:
    found = json.loads(run("ip", "10.42.1.8", "-o", "json", "--kubeconfig", kubeconfig).stdout)
    assert (found["what"], found["node"], found["pod"], found["uid"]) == ("pod", "n1", "db-0", "uid-db-0")


def test_a_node_is_believed_about_pods_and_addresses_of_its_own_alone(api: FakeApi, kubeconfig: str) -> None:
    """A stolen agent token names no pod of another node, and no address outside of its node's subnets."""
    forged = [endpoint("db-0", "10.42.2.9"), endpoint("web-1", "10.42.1.9")]
    endpoints = {"metadata": {"name": "n2"}, "spec": {"node": "n2", "endpoints": forged}}
    node = {"metadata": {"name": "n2"}, "status": {"hostIP": "192.0.2.12", "subnets": ["10.42.2.0/24"]}}
    for kind, item in ((QUILTENDPOINTS, endpoints), (QUILTNODE, node)):
        api.answers[kind.path()][1]["items"].insert(0, item)
    outside = run("ip", "10.42.1.9", "--kubeconfig", kubeconfig)
    assert (outside.exit_code, "no pod has it on node n1" in outside.output) == (1, True)
    client = ("--from", "10.42.2.9", "-o", "json", "--kubeconfig", kubeconfig)
    found = json.loads(run("policy", "explain", "shop/db-0", *client).stdout)
    assert (found["client"], found["server"]) == ("10.42.2.9", "shop/db-0")


def test_what_is_no_address_is_refused(kubeconfig: str) -> None:
    done = run("ip", "10.42.1", "--kubeconfig", kubeconfig)
    assert done.exit_code == 2
    assert "'10.42.1' is not an IP address" in done.output


def test_policies_are_listed_with_whom_they_hold_for(kubeconfig: str) -> None:
    lines = [
        line.split("   ") for line in run("policy", "list", "--kubeconfig", kubeconfig).output.splitlines()
    ]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["POLICY", "KIND", "PODS", "DIRECTIONS", "PROBLEM"],
        ["ClusterNetworkPolicy/names", "Admin 5", "2", "Egress", "no domainNames"],
        ["shop/db", "NetworkPolicy", "1", "Ingress", "-"],
    ]


def test_a_cluster_without_cluster_policies_and_one_that_enforces_none(api: FakeApi, kubeconfig: str) -> None:
    del api.answers[CLUSTERNETWORKPOLICY.path()]
    enforce(api, False)
    api.answers[NETWORKPOLICY.path()] = (200, {"items": []})
    done = run("policy", "list", "--kubeconfig", kubeconfig)
    assert done.exit_code == 0
    assert "network.policy.enabled is false" in done.output
    assert "there are no policies" in done.output


@pytest.mark.parametrize(
    ("arguments", "shown", "code"),
    [
        (("--from", "shop/web-1", "--port", "5432/tcp"), "shop/db, rule 1", 0),
        (("--from", "shop/web-1", "--port", "22"), "isolated and no rule matches: shop/db", 1),
        (("--from", "198.51.100.1", "--port", "5432"), "isolated and no rule matches: shop/db", 1),
        (
            (
                "--to",
                "shop/web-1",
            ),
            "no policy decides",
            0,
        ),
        (("--from", "192.0.2.11"), "own node is always reached", 0),
    ],
)
def test_what_decides_about_a_connection(
    kubeconfig: str, arguments: tuple[str, ...], shown: str, code: int
) -> None:
    done = run("policy", "explain", "shop/db-0", *arguments, "--kubeconfig", kubeconfig)
    assert shown in done.output
    assert done.exit_code == code, done.output


def test_what_decides_for_programs_and_where_nothing_is_enforced(api: FakeApi, kubeconfig: str) -> None:
    enforce(api, False)
    done = run("policy", "explain", "shop/db-0", "-o", "json", "--kubeconfig", kubeconfig)
    found = json.loads(done.stdout)
    assert done.exit_code == 0, "it passes"
    assert (found["enforced"], found["allowed"], found["server"]) == (False, False, "shop/db-0")
    assert found["ingress"]["policies"] == ["shop/db"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shop/nobody",), "no pod shop/nobody has an address of the mesh"),
        (("shop/db-0", "--from", "a", "--to", "b"), "give --from or --to"),
        (("shop/db-0", "--port", "http"), "'http' is not a port; write for example 53/udp"),
        (("shop/db-0", "--from", "2001:db8::1"), "are of two families"),
    ],
)
def test_what_cannot_be_asked(kubeconfig: str, arguments: tuple[str, ...], words: str) -> None:
    done = run("policy", "explain", *arguments, "--kubeconfig", kubeconfig)
    assert done.exit_code == 2
    assert words in done.output

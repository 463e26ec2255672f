"""The chart under a real Helm: typos are refused, CRDs are upgraded and kept, uninstall does not hang.

A control plane without nodes is enough: what the chart's Pods do is tested elsewhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from quilt_crds.definitions import DEFINITIONS
from quilt_crds.names import API_VERSION, LEASE_NAMESPACE, QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_devcluster import DevclusterError
from tests.support.controlplane import CHART, NAMESPACE, ControlPlane, Json, claim, control_plane, thing
from tests.support.operators import eventually

# An earlier chart, from before the values that this one has gained.
OLDER = "f9ccd392fb2c199466150306fc2010c8a0cc9fbb"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """An empty control plane."""
    with control_plane("chart") as plane:
        yield plane


@pytest.fixture
def installed(plane: ControlPlane) -> Json:
    """The release, with a network and a claim in it."""
    plane.install()
    plane.admin.create(QUILTNETWORK.path(), thing(QUILTNETWORK, "default", spec={}))

    def claimed() -> bool:
        """Not at once: the policy for claims sees the network a moment later."""
        return plane.admin.create(QUILTSUBNET.path(), claim("10.42.1.0/24")).status in {201, 409}

    eventually(claimed, "a claim is made")
    return plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok()


def rendered(plane: ControlPlane, *arguments: str) -> list[Json]:
    """The objects of `helm template`."""
    text = plane.cluster.helm("template", "quilt", str(CHART), "-n", NAMESPACE, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def one(objects: list[Json], kind: str, name: str = "") -> Json:
    """The object of that kind and name."""
    (found,) = (item for item in objects if item["kind"] == kind and item["metadata"]["name"].endswith(name))
    return found


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.vxlan.prot=4790", "additional properties 'prot' not allowed"),
        ("agnet.netRaw=true", "additional properties 'agnet' not allowed"),
        ("network.clusterCIDRs={10.42.0.0}", "does not match pattern"),
        ("network.nodePrefixLength=30", "maximum"),
        ("logLevel=loud", "value must be one of"),
        ("apiServer.host=192.0.2.1", "apiServer"),
    ],
)
def test_row_25_a_typo_in_a_value_is_refused(plane: ControlPlane, setting: str, words: str) -> None:
    with pytest.raises(DevclusterError, match=words):
        plane.install("--dry-run=client", "--set", setting)


def test_row_25_an_upgrade_upgrades_the_crds(plane: ControlPlane, installed: Json, tmp_path: Path) -> None:
    newer = tmp_path / "quilt-mesh"
    shutil.copytree(CHART, newer)
    template = newer / "templates/crds/quiltsubnets.yaml"
    template.write_text(template.read_text().replace("shortNames:\n", "shortNames:\n    - qsnew\n"))
    plane.install(chart=newer)
    names = plane.admin.get(f"{CRDS}/{QUILTSUBNET.crd_name}").ok()["spec"]["names"]
    assert names["shortNames"] == ["qsnew", "qs"]
    assert plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok() == installed, "objects are left alone"
    plane.install()


def test_row_25_uninstall_neither_hangs_on_finalizers_nor_loses_claims(
    plane: ControlPlane, installed: Json
) -> None:
    for resource in (QUILTNETWORK, QUILTNODE, QUILTSUBNET):
        for item in plane.admin.get(resource.path()).ok()["items"]:
            assert "finalizers" not in item["metadata"]
    plane.cluster.helm("uninstall", "quilt", "-n", NAMESPACE, "--wait", "--timeout", "60s")
    assert plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok() == installed
    kinds = (
        "clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,flowschema"
    )
    left = plane.cluster.kubectl("get", kinds, "-l", "app.kubernetes.io/name=quilt-mesh", "-o", "name")
    assert left == ""
    assert plane.admin.get(f"/api/v1/namespaces/{LEASE_NAMESPACE}").status == 404
    plane.install()
    assert plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok() == installed, "an install adopts it"


def test_row_25_the_documented_removal_of_the_crds_does_not_hang(
    plane: ControlPlane, installed: Json
) -> None:
    plane.cluster.helm("uninstall", "quilt", "-n", NAMESPACE, "--wait", "--timeout", "60s")
    names = [definition.resource.crd_name for definition in DEFINITIONS]
    plane.cluster.kubectl("delete", "crd", *names, "--timeout=60s")
    eventually(lambda: API_VERSION not in plane.cluster.kubectl("api-versions"), "it is served no longer")


def test_another_name_and_namespace_take_over_the_claims(plane: ControlPlane, installed: Json) -> None:
    """u3: Uninstalled and at once installed under another name and namespace, every claim stays."""
    elsewhere = ("mesh", str(CHART), "-n", "elsewhere", "--create-namespace")
    plane.cluster.helm("uninstall", "quilt", "-n", NAMESPACE, "--wait", "--timeout", "60s")
    with pytest.raises(DevclusterError, match="ownership"):
        plane.cluster.helm("install", *elsewhere)
    plane.cluster.helm("install", *elsewhere, "--take-ownership")
    assert plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok()["spec"] == installed["spec"]
    plane.cluster.helm("uninstall", "mesh", "-n", "elsewhere", "--wait", "--timeout", "60s")
    plane.install("--take-ownership")
    assert plane.admin.get(QUILTSUBNET.path("10.42.1.0-24")).ok()["spec"] == installed["spec"]


def test_an_upgrade_from_an_older_chart_names_the_command(plane: ControlPlane, tmp_path: Path) -> None:
    """u3: `--reuse-values` over an older chart changes nothing and names the command that upgrades."""
    packed = subprocess.run(
        ["git", "archive", OLDER, "helm"], cwd=CHART.parents[1], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", tmp_path], input=packed.stdout, check=True)
    older = str(tmp_path / "helm/quilt-mesh")
    create = ("-n", NAMESPACE, "--create-namespace", "--set", "logLevel=debug")
    plane.cluster.helm("upgrade", "--install", "quilt", older, *create)
    upgrade = ("upgrade", "quilt", str(CHART), "-n", NAMESPACE)
    with pytest.raises(DevclusterError, match="--reset-then-reuse-values"):
        plane.cluster.helm(*upgrade, "--reuse-values")
    plane.cluster.helm(*upgrade, "--reset-then-reuse-values")
    deployed = plane.cluster.helm("get", "manifest", "quilt", "-n", NAMESPACE)
    assert "--log-level=debug" in deployed
    assert "PodDisruptionBudget" in deployed
    plane.install()


def test_installing_prints_the_next_commands(plane: ControlPlane) -> None:
    notes = plane.install()
    for command in (
        "kubectl get quiltnodes --watch",
        f"helm test quilt -n {NAMESPACE} --logs",
        "quiltctl status",
    ):
        assert command in notes


def test_the_network_of_the_values_reaches_the_operator_whole(plane: ControlPlane) -> None:
    objects = rendered(
        plane, "--set", "network.clusterCIDRsV6={fd42::/48}", "--set", "network.vxlan.mtu=1400"
    )
    spec = json.loads(one(objects, "ConfigMap", "quilt-network")["data"]["network.json"])
    assert spec["clusterCIDRsV6"] == ["fd42::/48"]
    assert spec["vxlan"] == {
        "vni": 100, "port": 4789, "device": "vxlan100", "mtu": 1400, "directRouting": False,
    }  # fmt: skip
    spec = json.loads(one(rendered(plane), "ConfigMap", "quilt-network")["data"]["network.json"])
    assert "clusterCIDRsV6" not in spec


def test_no_pod_has_more_privilege_than_it_needs(plane: ControlPlane) -> None:
    objects = rendered(plane)
    node = one(objects, "DaemonSet", "quilt-mesh")["spec"]["template"]["spec"]
    operator = one(objects, "Deployment")["spec"]["template"]["spec"]
    added = {}
    for pod in (node, operator):
        assert pod["hostNetwork"] is True
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert "privileged" not in context
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            added[container["name"]] = context["capabilities"].get("add", [])
    assert added == {"agent": ["NET_ADMIN"], "runtime": ["NET_ADMIN"], "operator": []}
    assert operator["securityContext"]["runAsNonRoot"] is True
    assert not any("hostPath" in volume for volume in operator["volumes"])


def test_the_token_and_the_cni_folders_are_the_agents_alone(plane: ControlPlane) -> None:
    pod = one(rendered(plane), "DaemonSet", "quilt-mesh")["spec"]["template"]["spec"]
    mounts = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in pod["containers"]
    }
    assert mounts["agent"] - mounts["runtime"] == {"kube-api-access", "cni-bin", "cni-conf"}
    assert mounts["runtime"] == {"proc-sys-net", "run", "tmp"}
    paths = {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert paths == {"/proc/sys/net", "/run/quilt", "/opt/cni/bin", "/etc/cni/net.d"}


def test_every_node_and_an_early_start_are_served(plane: ControlPlane) -> None:
    settings = ("--set", "apiServer.host=192.0.2.7", "--set", "apiServer.port=6443")
    objects = rendered(plane, *settings)
    node, operator = one(objects, "DaemonSet", "quilt-mesh"), one(objects, "Deployment")
    # Which taints operators tolerate, and a cordon they do not, is in tests/unit/helm/test_helm_life.py.
    assert node["spec"]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    for item, priority in ((node, "system-node-critical"), (operator, "system-cluster-critical")):
        pod = item["spec"]["template"]["spec"]
        assert pod["priorityClassName"] == priority
        environment = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
        assert environment["KUBERNETES_SERVICE_HOST"] == "192.0.2.7"
        assert environment["KUBERNETES_SERVICE_PORT"] == "6443"


def test_metrics_leave_the_loopback_only_when_asked_to(plane: ControlPlane) -> None:
    def addresses(*arguments: str) -> set[str]:
        objects = rendered(plane, *arguments)
        pods = (one(objects, "DaemonSet", "quilt-mesh"), one(objects, "Deployment"))
        containers = [
            container for item in pods for container in item["spec"]["template"]["spec"]["containers"]
        ]
        arguments_ = [argument for container in containers for argument in container["args"]]
        return {
            item.removeprefix("--health-addr=") for item in arguments_ if item.startswith("--health-addr=")
        }

    assert addresses() == {"127.0.0.1:9470", "127.0.0.1:9471", "127.0.0.1:9472"}
    assert addresses("--set", "monitoring.expose=true") == {"0.0.0.0:9470", "0.0.0.0:9471", "0.0.0.0:9472"}
    monitored = rendered(plane, "--set", "monitoring.serviceMonitor.enabled=true")
    ports = {
        endpoint["port"]
        for item in monitored
        if item["kind"] == "ServiceMonitor"
        for endpoint in item["spec"]["endpoints"]
    }
    assert ports == {"agent-http", "runtime-http", "operator-http"}


def test_the_chart_works_in_a_namespace_of_any_name(plane: ControlPlane) -> None:
    objects = list(yaml.safe_load_all(plane.cluster.helm("template", "mesh", str(CHART), "-n", "elsewhere")))
    text = json.dumps(objects)
    assert NAMESPACE not in text
    assert "system:serviceaccount:elsewhere:quilt-agent" in text


def test_lint(plane: ControlPlane) -> None:
    plane.cluster.helm("lint", "--strict", str(CHART))

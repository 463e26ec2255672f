"""The chart in the life of a release: GitOps, another name, older values, a part of another chart."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart_cases import CASES, MULTICAST
from tests.support.chart_values import merged, nested
from tests.support.helm import CHART, Helm, Json

ROOT = Path(__file__).parents[3]
# An earlier chart, from before the values that this one has gained.
OLDER = "f9ccd392fb2c199466150306fc2010c8a0cc9fbb"
EVERYTHING = merged(*(merged(one.needs, nested(one.path, one.value)) for one in CASES if not one.alone))
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@pytest.mark.parametrize("values", [{}, MULTICAST, EVERYTHING], ids=["defaults", "multicast", "everything"])
def test_two_renders_are_byte_identical(helm: Helm, values: Json) -> None:
    """u2, D4: `helm template` twice gives the same bytes, multicast on or off: nothing is random."""
    assert helm.template(values) == helm.template(values)


def test_no_template_asks_the_cluster_or_draws_lots() -> None:
    """u2: No template has `lookup`, a random function, a new certificate or the time."""
    forbidden = re.compile(r"\b(lookup|rand\w+|gen(CA|Signed|Self|Private)\w*|uuidv4|now|htpasswd|bcrypt)\b")
    for path in (CHART / "templates").rglob("*"):
        actions = re.findall(r"\{\{.*?\}\}", path.read_text(), re.DOTALL) if path.is_file() else []
        assert not [action for action in actions if forbidden.search(re.sub(r"/\*.*?\*/", "", action))], path


def test_the_operator_may_create_the_key_of_multicast_and_read_no_secret(helm: Helm) -> None:
    """u2: The multicast key is an existing Secret, or the operator creates it and may read none."""

    def rights(values: Json) -> list[Any]:
        rules = [
            rule
            for name, item in helm.objects(values).items()
            if name.partition("/")[0] in {"Role", "ClusterRole"} and "quilt-operator" in name
            for rule in item["rules"]
        ]
        return [rule["verbs"] for rule in rules if "secrets" in rule["resources"]]

    given = merged(MULTICAST, {"agent": {"multicastSecret": "mine"}})
    assert (rights({}), rights(MULTICAST), rights(given)) == ([], [["create"]], [])
    assert not any(name.startswith("Secret/") for name in helm.objects(MULTICAST))
    for values, creates in (({}, False), (MULTICAST, True), (given, False)):
        operator = helm.objects(values)["Deployment/quilt-operator"]["spec"]["template"]["spec"]
        assert ("--multicast-secret=quilt-multicast" in operator["containers"][0]["args"]) == creates


def test_policies_alone_let_pods_and_policies_be_read(helm: Helm) -> None:
    """Without policies neither account reads pods; with them both do and write their own kinds."""

    def rights(role: str, **switches: bool) -> dict[str, list[str]]:
        values = {"network": {name: {"enabled": on} for name, on in switches.items()}}
        found: dict[str, list[str]] = {}
        for rule in helm.objects(values)[f"ClusterRole/{role}"]["rules"]:
            for name in rule["resources"]:
                found.setdefault(name, []).extend(rule["verbs"])
        return found

    read = ["list", "watch"]
    watched = dict.fromkeys(("pods", "namespaces", "networkpolicies", "clusternetworkpolicies"), read)
    written, left = ["create", "patch"], ["list", "deletecollection"]
    without = rights("quilt-agent", endpoints=False)
    assert not without.keys() & {*watched, "quiltpeers", "quiltendpoints"}
    assert rights("quilt-agent") == without | {"quiltendpoints": written}
    assert rights("quilt-agent", endpoints=False, policy=True) == without | watched | {
        "quiltendpoints": written,
        "quiltpeers": read,
    }
    idle = rights("quilt-operator")
    assert not idle.keys() & watched.keys()
    assert (idle["quiltendpoints"], idle["quiltpeers"]) == (left, left)
    assert rights("quilt-operator", policy=True) == idle | watched | {
        "quiltendpoints": [*left, "watch"],
        "quiltpeers": [*left, "watch", "create", "patch", "delete"],
        "clusternetworkpolicies/status": ["patch"],
    }


def test_values_of_an_older_chart_are_refused_with_the_command(helm: Helm, tmp_path: Path) -> None:
    """u3: `--reuse-values` from an older chart is refused, in words that name `--reset-then-reuse-values`."""
    done = subprocess.run(
        ["git", "show", f"{OLDER}:helm/quilt-mesh/values.yaml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, "this needs a clone with its history: git fetch --unshallow"
    chart = tmp_path / "quilt-mesh"
    shutil.copytree(CHART, chart)
    # What Helm does with --reuse-values: the old chart's values take the place of the new ones.
    (chart / "values.yaml").write_text(done.stdout)
    errors = helm.run("template", "quilt", str(chart)).stderr
    assert "--reset-then-reuse-values" in errors
    assert "additional properties" not in errors, "no value of the older chart has gone"
    # And with --reset-then-reuse-values: the user's over the new chart's.
    assert helm.objects({"image": {"tag": "v1"}, "node": {"updateStrategy": "OnDelete"}})


def test_under_another_name_and_namespace(helm: Helm) -> None:
    """u3: Under another release name and namespace nothing refers to the first ones."""
    text = helm.template(EVERYTHING, release="mesh", namespace="elsewhere")
    assert "quilt-system" not in text
    assert "instance: quilt\n" not in text
    here, there = helm.objects(), helm.objects(release="mesh", namespace="elsewhere")
    assert {name.replace("quilt-system", "elsewhere") for name in here} == there.keys()


def test_as_a_part_of_another_chart(helm: Helm, tmp_path: Path) -> None:
    """u3: As a subchart, under an alias and with a `global` section, it renders what it renders alone."""
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts/quilt-mesh")
    dependency = {"name": "quilt-mesh", "version": "0.1.0", "alias": "mesh"}
    (parent / "Chart.yaml").write_text(
        yaml.safe_dump(
            {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
        )
    )
    values = {"mesh": EVERYTHING, "global": {"imageRegistry": "r.example.com"}}
    whole = helm.objects(values, chart=parent)
    alone = helm.objects(EVERYTHING)
    assert whole.keys() == alone.keys()
    for name, item in alone.items():
        assert whole[name].get("spec") == renamed(item.get("spec"), whole[name].get("spec")), name


def renamed(spec: Any, other: Any) -> Any:
    """A spec with the alias in the label that names the chart, as in the other one."""
    text = yaml.safe_dump(spec)
    chart = re.search(r"helm.sh/chart: (\S+)", yaml.safe_dump(other))
    return yaml.safe_load(
        re.sub(r"helm.sh/chart: \S+", f"helm.sh/chart: {chart[1]}", text) if chart else text
    )


def test_operators_leave_a_dead_node_and_do_not_return_to_a_cordoned_one(helm: Helm) -> None:
    """u4: Operators tolerate no cordon, leave a dead node within 5 minutes, and drains take one at a time."""
    objects = helm.objects()
    pod = objects["Deployment/quilt-operator"]["spec"]["template"]["spec"]
    assert not any(tolerates(one, CORDON) for one in pod["tolerations"])
    for key in ("not-ready", "unreachable"):
        taint = {"key": f"node.kubernetes.io/{key}", "effect": "NoExecute"}
        (seconds,) = (one.get("tolerationSeconds") for one in pod["tolerations"] if tolerates(one, taint))
        assert seconds is not None
        assert seconds <= 300
    # A new cluster's nodes have these until there is a network.
    for key in ("node.kubernetes.io/not-ready", "node-role.kubernetes.io/control-plane"):
        assert any(tolerates(one, {"key": key, "effect": "NoSchedule"}) for one in pod["tolerations"])
    budget = objects["PodDisruptionBudget/quilt-operator"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == objects["Deployment/quilt-operator"]["spec"]["selector"]
    node = objects["DaemonSet/quilt-mesh"]["spec"]["template"]["spec"]
    assert any(tolerates(one, CORDON) for one in node["tolerations"])


def tolerates(toleration: Json, taint: Json) -> bool:
    """Whether a toleration of a key that must exist fits a taint."""
    return all(toleration.get(part) in {None, taint[part]} for part in ("key", "effect"))


def test_all_objects_carry_the_common_labels_and_annotations(helm: Helm) -> None:
    """CRDs apart, which outlive the release."""
    values = merged(EVERYTHING, MULTICAST)
    for name, item in helm.objects(values).items():
        if not name.startswith("CustomResourceDefinition/"):
            assert item["metadata"]["labels"]["example.com/team"] == "net", name
            assert item["metadata"]["annotations"]["example.com/team"] == "net", name


def test_labels_of_the_user_neither_replace_the_charts_nor_select(helm: Helm) -> None:
    mine = {"app.kubernetes.io/component": "mine", "color": "red"}
    values = {"commonLabels": mine, "node": {"podLabels": {"color": "blue", "helm.sh/chart": "mine"}}}
    usual, changed = helm.objects(), helm.objects(values)
    for name in ("DaemonSet/quilt-mesh", "Deployment/quilt-operator"):
        assert changed[name]["spec"]["selector"] == usual[name]["spec"]["selector"]
        template, before = (
            which[name]["spec"]["template"]["metadata"]["labels"] for which in (changed, usual)
        )
        assert {key: template[key] for key in before} == before
    assert changed["DaemonSet/quilt-mesh"]["spec"]["template"]["metadata"]["labels"]["color"] == "blue"


def test_users_see_the_kinds_and_change_all_but_the_claims(helm: Helm) -> None:
    objects = helm.objects()
    view, edit = (objects[f"ClusterRole/quilt-{name}"] for name in ("view", "edit"))
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {key for key in view["metadata"]["labels"] if key.startswith(prefix)} == {
        f"{prefix}{role}" for role in ("view", "edit", "admin")
    }
    assert f"{prefix}view" not in edit["metadata"]["labels"]
    assert view["rules"][0]["verbs"] == ["get", "list", "watch"]
    assert "quiltsubnets" not in edit["rules"][0]["resources"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": {"vxlan": {"prot": 4790}}}, "additional properties 'prot' not allowed"),
        ({"operator": {"toleration": []}}, "additional properties 'toleration' not allowed"),
        ({"node": {"tolerations": [{"efect": "NoSchedule"}]}}, "additional properties 'efect' not allowed"),
        ({"image": {"node": {"digest": "4bf1"}}}, "digest"),
        ({"cni": {"confName": "10-quilt.conf"}}, "confName"),
    ],
)
def test_a_typo_is_named(helm: Helm, values: Json, words: str) -> None:
    done = helm.run("template", "quilt", str(CHART), values=values)
    assert done.returncode != 0
    assert words in done.stderr


def test_lint(helm: Helm) -> None:
    done = helm.run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[INFO]" not in done.stdout, "nothing is recommended that is not there"

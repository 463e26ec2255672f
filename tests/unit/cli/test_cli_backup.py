"""`quiltctl backup` and `quiltctl restore`: what is kept, refused, and written."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from quilt_cli.api import restoring
from quilt_cli.commands.backup import write
from quilt_cli.core import backup as backups
from quilt_cli.core.backup_file import Backup, parse
from quilt_cli.core.finding import Level, StoppedError
from quilt_cli.core.objects import Workload
from quilt_cli.core.restore import Plan, Step, plan
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.main import cli
from quilt_crds.names import QUILTNODE, QUILTSUBNET, claim_name
from quilt_crds.wire import Meta, QuiltNode, QuiltNodeSpec, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork
from quilt_kube.access import Access
from quilt_kube.request import ApiError, Request
from quilt_kube.sync import Client
from tests.support import cli_snapshots as some
from tests.support.cli_fakeapi import FakeApi

ROOT = Path(__file__).parents[3]
NETWORK, NODES, CLAIMS = (one.path() for one in backups.KINDS)
SPEC = {"clusterCIDRs": ["10.42.0.0/16"], "nodePrefixLength": 24}
OPERATOR = Workload("Deployment", "quilt-system", "quilt-operator", 2, 2, 2)
STOPPED = replace(OPERATOR, wanted=0, updated=0, ready=0)
Json = dict[str, Any]


def metadata(name: str, **more: Any) -> Json:
    """As the API server has it."""
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", "managedFields": [{}], **more}


def claim(cidr: str, node: str, phase: str = "Up", **more: Any) -> Json:
    spec = {"cidr": cidr, "network": "default", "node": node}
    mesh = {"phase": phase, "hostIP": "192.0.2.1", **more}
    kind = {"apiVersion": "quilt.io/v1alpha1", "kind": "QuiltSubnet"}
    return {**kind, "metadata": metadata(claim_name(cidr)), "spec": spec, "mesh": mesh}


def network(**spec: Any) -> Json:
    kind = {"apiVersion": "quilt.io/v1alpha1", "kind": "QuiltNetwork"}
    return {**kind, "metadata": metadata("default"), "spec": SPEC | spec, "status": {"conditions": []}}


def node(name: str, **spec: Any) -> Json:
    owner = {"kind": "Node", "name": name, "uid": "1"}
    kind = {"apiVersion": "quilt.io/v1alpha1", "kind": "QuiltNode"}
    return {**kind, "metadata": metadata(name, ownerReferences=[owner]), "spec": spec, "status": {"mac": "x"}}


def written(*objects: Json) -> str:
    return yaml.safe_dump_all(objects)


def read(*objects: Json) -> Backup:
    return parse(written(*objects), "file")


def cluster(*claims: QuiltSubnet, **fields: Any) -> Snapshot:
    """One whose operator is stopped."""
    held = QuiltNetwork(Meta("default"), SPEC)
    usual = {"network": held, "subnets": claims, "mesh_nodes": (), "operator": STOPPED, "pods": ()}
    return some.healthy(**usual | fields)


def codes(found: Plan) -> list[tuple[str, Level]]:
    return [(item.code, item.level) for item in found.findings]


def about(found: Plan) -> list[str]:
    return [step.about for step in found.steps]


def test_a_backup_keeps_what_was_decided_and_nothing_of_the_objects_of_then() -> None:
    kubectls = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}
    labelled = claim("10.42.2.0/24", "n2")
    labelled["metadata"] |= {"labels": {"rack": "1"}, "annotations": kubectls}
    nodes = [node("n1"), node("n3", subnet="", routes=[]), node("n2", hostIP="192.0.2.2")]
    made = backups.document([network()], nodes, [labelled, claim("10.42.1.0/24", "n1")], {"taken": "now"})
    assert [item["metadata"] for item in made["items"]] == [
        {"name": "default"},
        {"name": "n2"},
        {"name": "10.42.1.0-24"},
        {"name": "10.42.2.0-24", "labels": {"rack": "1"}, "annotations": {"team": "a"}},
    ]
    assert {key for item in made["items"] for key in item} == {
        "apiVersion", "kind", "metadata", "spec", "mesh"
    }  # fmt: skip
    assert made["metadata"]["annotations"] == {"backup.quilt.io/taken": "now"}


def test_what_is_written_is_read_as_it_was() -> None:
    releasing = claim("fd42:0:0:1::/64", "n1", "Releasing", releasedAt="2026-01-01T00:00:00Z")
    made = backups.document([network()], [node("n1", subnet="10.42.1.0/24")], [releasing], {})
    found = parse(backups.text_of(made), "file")
    assert [found.network, *found.nodes, *found.claims] == made["items"]
    assert parse(json.dumps(made), "file") == found


def test_a_list_and_documents_of_kubectl_are_read_too() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [network(), claim("10.42.1.0/24", "n1")]}
    assert read(listed, node("n1")) == read(network(), claim("10.42.1.0/24", "n1")), "agents make n1"


def with_name(raw: Json, name: Any) -> Json:
    return raw | {"metadata": {"name": name}}


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], "there is no object in it"),
        (
            [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}],
            "object 1 (Secret s): a backup",
        ),
        ([claim("10.42.1.0/24", "n1"), with_name(network(), 7)], "object 2 (QuiltNetwork without a name)"),
        ([with_name(claim("10.42.1.0/24", "n1"), "10.42.9.0-24")], "is called 10.42.1.0-24"),
        ([claim("10.42.1.7/24", "n1")], "spec.cidr: '10.42.1.7/24' is not canonical; write 10.42.1.0/24"),
        ([claim("10.42.1.0/24", "")], "spec.node"),
        ([claim("10.42.1.0/24", "n1", "Lost")], "mesh.phase: 'Lost' is not one of Up, Down, Releasing"),
        ([claim("10.42.1.0/24", "n1", "Releasing")], "Releasing needs the time"),
        ([claim("10.42.1.0/24", "n1", hostIP="192.0.2.300")], "mesh.hostIP: '192.0.2.300'"),
        ([claim("10.42.1.0/24", "n1", hostIp="192.0.2.3")], "mesh.hostIp is no field of it"),
        ([claim("10.42.1.0/24", "n1")] * 2, "object 2 (QuiltSubnet 10.42.1.0-24): it is there twice"),
        ([claim("10.42.0.0/23", "n1"), claim("10.42.1.0/24", "n2")], "10.42.1.0-24 overlaps 10.42.0.0-23"),
        ([network(vxlan={"vni": 0})], "spec.vxlan.vni"),
        ([with_name(network(), "other")], "one QuiltNetwork, called default"),
        ([node("n1", subnet="10.42.1.1/24")], "spec.subnet"),
        ([node("n1", routes=[{"destination": "10.60.0.0/24"}])], "needs one of interface and bridgeMember"),
        ([claim("10.42.1.0/24", "n1") | {"metadata": {"name": "10.42.1.0-24", "labels": [1]}}], "labels"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole_with_what_and_where(objects: list[Json], words: str) -> None:
    with pytest.raises(StoppedError) as caught:
        read(*objects)
    assert words in str(caught.value)
    assert "nothing was written" in str(caught.value)


def test_a_file_that_is_cut_off_is_refused_with_the_line() -> None:
    with pytest.raises(StoppedError, match=r"line \d+"):
        parse('apiVersion: v1\nitems:\n- {"kind": "Quilt', "file")


def test_what_is_missing_is_created_and_what_is_equal_left_alone() -> None:
    old = read(
        network(), node("n2", hostIP="192.0.2.2"), claim("10.42.1.0/24", "n1"), claim("10.42.2.0/24", "n2")
    )
    found = plan(old, cluster(some.subnet(1)))
    assert about(found) == ["QuiltNode n2", "QuiltSubnet 10.42.2.0-24"]
    assert found.equal == 2
    assert codes(found) == []
    owner = found.steps[0].body["metadata"]["ownerReferences"]
    assert [item["name"] for item in owner] == ["n2"], "it is deleted with its Node, as what agents make"
    everything = plan(old, cluster(network=None))
    assert about(everything)[0] == "QuiltNetwork default", "claims are checked against it"
    assert (len(everything.steps), everything.equal) == (4, 0)


@pytest.mark.parametrize(
    ("there", "code"),
    [
        (some.subnet(9, cidr="10.42.1.0/24"), "claim-taken"),
        (some.subnet(9, cidr="10.42.0.0/23"), "claim-overlaps"),
        (some.subnet(9, cidr="10.42.1.128/25"), "claim-overlaps"),
    ],
)
def test_addresses_that_another_node_holds_are_in_the_way(there: QuiltSubnet, code: str) -> None:
    old = read(network(), claim("10.42.1.0/24", "n1"), claim("10.42.3.0/24", "n3"))
    found = plan(old, cluster(there))
    assert codes(found) == [(code, Level.FAIL)]
    assert "n9" in found.findings[0].message + found.findings[0].todo
    skipped = plan(old, cluster(there), skip=True)
    assert codes(skipped) == [(code, Level.WARN)]
    assert about(skipped) == ["QuiltSubnet 10.42.3.0-24"]


@pytest.mark.parametrize("cidr", ["10.43.1.0/24", "10.42.1.0/25", "fd42:0:0:1::/64"])
def test_claims_that_the_networks_policy_refuses_are_in_the_way(cidr: str) -> None:
    assert codes(plan(read(network(), claim(cidr, "n1")), cluster())) == [("claim-misfit", Level.FAIL)]


def test_a_node_that_got_another_subnet_or_is_not_there_is_reported() -> None:
    old = read(network(), claim("10.42.1.0/24", "n1"), claim("10.42.8.0/24", "n8"))
    found = plan(old, cluster(some.subnet(5, node="n1")))
    assert codes(found) == [("node-elsewhere", Level.WARN), ("node-absent", Level.WARN)]
    assert len(found.steps) == 2


def test_a_network_that_differs_stays_and_is_reported() -> None:
    found = plan(read(network(reuseGracePeriod="1h"), claim("10.42.1.0/24", "n1")), cluster())
    assert codes(found) == [("network-differs", Level.WARN)]
    assert "reuseGracePeriod" in found.findings[0].message
    assert about(found) == ["QuiltSubnet 10.42.1.0-24"]
    without = plan(read(claim("10.42.1.0/24", "n1")), cluster(network=None))
    assert ("network-absent", Level.FAIL) in codes(without)


def test_what_was_decided_about_a_node_since_is_in_the_way() -> None:
    old = read(network(), node("n1", hostIP="192.0.2.1"))
    empty, equal, other = (QuiltNodeSpec(host_ip=ip) for ip in ("", "192.0.2.1", "192.0.2.7"))
    founds = [plan(old, cluster(mesh_nodes=(QuiltNode(Meta("n1"), spec),))) for spec in (empty, equal, other)]
    assert [about(found) for found in founds] == [["QuiltNode n1"], [], []]
    assert [codes(found) for found in founds] == [[], [], [("node-differs", Level.FAIL)]]


@pytest.mark.parametrize("fields", [{"operator": OPERATOR}, {"pods": (some.pod(1, component="operator"),)}])
def test_an_operator_that_runs_is_in_the_way_of_claims(fields: Json) -> None:
    old = read(network(), claim("10.42.1.0/24", "n1"))
    found = plan(old, cluster(**fields), skip=True)
    assert codes(found) == [("operator-runs", Level.FAIL)]
    assert "scale deployment quilt-operator --replicas=0" in found.findings[0].todo
    assert codes(plan(old, cluster(some.subnet(1), **fields))) == [], "nothing is missing"


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> str:
    """A cluster with the CRDs alone."""
    for path in (NETWORK, NODES, CLAIMS, "/apis/apps/v1/daemonsets", "/apis/apps/v1/deployments"):
        api.answers[path] = (200, {"items": []})
    api.answers["/api/v1/pods"] = api.answers["/api/v1/nodes"] = (200, {"items": []})
    api.answers["/version"] = (200, {"gitVersion": "v1.36.0"})
    return str(api.kubeconfig(tmp_path))


def run(kubeconfig: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, *arguments])


def test_a_backup_is_one_file_for_its_owner_alone(api: FakeApi, kubeconfig: str, tmp_path: Path) -> None:
    api.answers[NETWORK] = (200, {"items": [network()]})
    api.answers[CLAIMS] = (200, {"items": [claim("10.42.1.0/24", "n1")]})
    file = tmp_path / "backup.yaml"
    done = run(kubeconfig, "backup", "-f", str(file))
    assert done.exit_code == 0, done.output
    assert "1 quiltnetworks, 1 quiltsubnets" in done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    described = yaml.safe_load(file.read_text())["metadata"]["annotations"]
    assert described["backup.quilt.io/kubernetes"] == "v1.36.0"
    assert {f"backup.quilt.io/{name}" for name in ("taken", "quiltctl", "cluster")} <= described.keys()
    assert "secret" not in file.read_text(), "the token of the kubeconfig"
    assert parse(run(kubeconfig, "backup").stdout, "-") == parse(file.read_text(), str(file))
    assert json.loads(run(kubeconfig, "backup", "-o", "json").stdout)["kind"] == "List"


def test_no_backup_is_written_over_by_nothing(api: FakeApi, kubeconfig: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.yaml"
    file.write_text("the last good one")
    empty = run(kubeconfig, "backup", "-f", str(file))
    del api.answers[CLAIMS]
    gone = run(kubeconfig, "backup", "-f", str(file))
    assert (empty.exit_code, gone.exit_code) == (2, 2)
    assert "nothing to back up" in empty.output
    assert "knows no quilt.io kinds" in gone.output
    assert file.read_text() == "the last good one"


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    file = tmp_path / "backup.yaml"
    file.write_text("before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write(file, "half")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.fixture
def file(tmp_path: Path) -> str:
    objects = (network(), node("n1", hostIP="192.0.2.1"), claim("10.42.1.0/24", "n1"))
    path = tmp_path / "old.yaml"
    path.write_text(written(*objects))
    return str(path)


def writes(api: FakeApi) -> list[tuple[str, str]]:
    return [(method, path.partition("?")[0]) for method, path, _ in api.seen if method != "GET"]


def test_a_dry_run_shows_all_and_writes_nothing(api: FakeApi, kubeconfig: str, file: str) -> None:
    done = run(kubeconfig, "restore", file, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "QuiltSubnet 10.42.1.0-24" in done.output
    assert "3 objects to write, 0 are there already; nothing was written" in done.output
    assert writes(api) == []


def test_a_restore_writes_the_network_first(api: FakeApi, kubeconfig: str, file: str) -> None:
    api.answers[QUILTNODE.path("n1")] = (200, {})
    done = run(kubeconfig, "restore", file, "-o", "json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    assert writes(api) == [("POST", NETWORK), ("PATCH", QUILTNODE.path("n1")), ("POST", CLAIMS)]
    assert [item["written"] for item in document["steps"]] == [True] * 3


def test_a_conflict_is_named_and_nothing_is_written(api: FakeApi, kubeconfig: str, file: str) -> None:
    api.answers[CLAIMS] = (200, {"items": [claim("10.42.1.0/24", "n2")]})
    done = run(kubeconfig, "restore", file)
    assert done.exit_code == 1
    assert "in the cluster node n2 holds it" in done.output
    assert writes(api) == []


def test_what_the_api_server_refuses_is_reported_and_the_rest_written(
    api: FakeApi, kubeconfig: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy may settle within half a minute; a refusal after that is one."""
    monkeypatch.setattr(restoring, "_SETTLES", 0.0)
    api.answers[QUILTNODE.path("n1")] = (422, {"message": "ValidatingAdmissionPolicy says no"})
    done = run(kubeconfig, "restore", file)
    assert done.exit_code == 1
    assert "QuiltNode n1: ValidatingAdmissionPolicy says no" in done.output
    assert "2 of 3 objects written" in done.output


class Answers(Client):
    """An API server that answers writes with these, one after the other, and then well."""

    def __init__(self, *refusals: ApiError, holder: str = "") -> None:
        super().__init__(Access("http://192.0.2.1"), agent="test")
        self.refusals = list(refusals)
        self.holder = holder
        self.sent = 0

    def send(self, request: Request, *, timeout: float | None = None) -> bytes:
        if request.method == "GET":
            return json.dumps(claim("10.42.1.0/24", self.holder)).encode()
        self.sent += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return b"{}"


STEP = Step(QUILTSUBNET, claim("10.42.1.0/24", "n1"), "n1")
UNSEEN = ApiError(422, "ValidatingAdmissionPolicy 'quilt-subnet-in-network': no params found")


def carried_out(client: Client) -> dict[str, str]:
    return restoring.carry_out(client, [STEP], lambda _: None)


def test_a_policy_that_does_not_know_the_network_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "_AGAIN", 0.0)
    settling = Answers(UNSEEN, ApiError(404, "not served yet"), ApiError(429, "busy"))
    assert (carried_out(settling), settling.sent) == ({}, 4)
    forbidden = Answers(ApiError(403, "not you"))
    assert (carried_out(forbidden), forbidden.sent) == ({STEP.about: "not you (HTTP 403)"}, 1)


def test_storage_of_new_crds_that_is_not_ready_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, kept = [ApiError(429, "storage is (re)initializing")], cluster()

    def read_once(_: Client) -> Snapshot:
        if refusals:
            raise refusals.pop()
        return kept

    monkeypatch.setattr(restoring, "_AGAIN", 0.0)
    monkeypatch.setattr(restoring, "snapshot", read_once)
    assert restoring.read_settled(Answers()) is kept
    refusals.append(ApiError(403, "not you"))
    with pytest.raises(ApiError, match="not you"):
        restoring.read_settled(Answers())


def test_a_claim_that_somebody_made_meanwhile_is_fine_for_the_same_node_alone() -> None:
    exists = ApiError(409, "it exists", "AlreadyExists")
    assert carried_out(Answers(exists, holder="n1")) == {}
    assert carried_out(Answers(exists, holder="n2")) == {STEP.about: "node n2 got it meanwhile"}


def test_without_crds_or_a_readable_file_it_says_what_to_do(
    api: FakeApi, kubeconfig: str, file: str, tmp_path: Path
) -> None:
    absent = run(kubeconfig, "restore", str(tmp_path / "absent"))
    for path in (NETWORK, NODES, CLAIMS):
        del api.answers[path]
    without = run(kubeconfig, "restore", file)
    assert (absent.exit_code, without.exit_code) == (2, 2)
    assert "cannot be read" in absent.output
    assert "apply the CRDs first" in without.output


def test_whether_the_operator_runs_is_never_guessed(api: FakeApi, kubeconfig: str, file: str) -> None:
    api.answers["/apis/apps/v1/deployments"] = (403, {"message": "not you"})
    done = run(kubeconfig, "restore", file)
    assert done.exit_code == 2
    assert "whether the operator runs" in done.output
    assert writes(api) == []

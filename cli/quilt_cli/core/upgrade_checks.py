"""What would be in the way of an upgrade: docs/versions.md says which versions may stand side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from quilt_cli.core import cluster_checks, mesh_findings
from quilt_cli.core.chart import Chart, schema_of
from quilt_cli.core.cluster_checks import some
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import Finding, fail, ok, unknown, warn
from quilt_cli.core.known_fields import paths
from quilt_cli.core.known_fields import unknown as unknown_fields
from quilt_cli.core.node_checks import major_minor
from quilt_crds.names import NODE_COMPONENT, VERSION

# As Helm 4 calls itself where it applies on the server's side.
_HELM = "helm"
_PAUSED = "withdrawal-paused"


def check(
    facts: ClusterFacts, chart: Chart, client: str, values: Mapping[str, Any] | None = None
) -> list[Finding]:
    """What a command of version `client` finds about an upgrade; `values` are the release's own."""
    if not facts.mesh.installed:
        return mesh_findings.of(facts.mesh)
    mesh = mesh_findings.of(facts.mesh)
    return [
        *cluster_checks.standing(facts),
        *_way(facts, chart),
        *_client(chart, client),
        *_agents(facts, chart),
        *_crds(facts, chart),
        *_values(chart, values),
        *_nodes(facts),
        *(item for item in mesh if item.code != _PAUSED),
        *(_paused(item) for item in mesh if item.code == _PAUSED),
    ]


def _way(facts: ClusterFacts, chart: Chart) -> Iterator[Finding]:
    """Whether the version follows the installed one."""
    now = next((item.version for item in (facts.mesh.operator, facts.mesh.agents) if item), "")
    about = f"chart {chart.version}"
    before, after = major_minor(now), major_minor(chart.version)
    if (0, 0) in (before, after):
        text = f"whether it may follow: the release's version reads {now!r}"
        yield unknown("upgrade-way", about, text, "helm list -n " + facts.mesh.release_namespace)
    elif before == after:
        yield ok("upgrade-way", about, f"{now} is installed: the minor version stays")
    elif after in _next(before):
        yield ok("upgrade-way", about, f"it follows {now}, which is installed")
    elif before in _next(after):
        message = f"{now} is installed, which is newer: this is a roll-back"
        yield warn("upgrade-way", about, message, "docs/upgrade.md has how to go back")
    else:
        message = f"{now} is installed: one minor version at a time is what is tested"
        yield fail("upgrade-way", about, message, f"go by {before[0]}.{before[1] + 1} first")


def _next(version: tuple[int, int]) -> Collection[tuple[int, int]]:
    """What one minor version further may be called: which one is the last of a major is not known here."""
    return (version[0], version[1] + 1), (version[0] + 1, 0)


def _far(one: str, other: str) -> bool:
    """Whether two versions are more than one minor version apart."""
    a, b = major_minor(one), major_minor(other)
    return (0, 0) not in (a, b) and a != b and a not in _next(b) and b not in _next(a)


def _client(chart: Chart, client: str) -> Iterator[Finding]:
    if _far(client, chart.version):
        message = f"it is {client}, more than one minor version from {chart.version}"
        yield warn("upgrade-client", "quiltctl", message, f"use quiltctl {chart.version}")


def _agents(facts: ClusterFacts, chart: Chart) -> Iterator[Finding]:
    """Agents may be one minor version older than the operator, and no more."""
    by_version: dict[str, list[str]] = {}
    for node in facts.mesh.mesh_nodes:
        by_version.setdefault(node.status.version, []).append(node.name)
    namespace = facts.mesh.release_namespace
    for version, names in sorted(by_version.items()):
        if major_minor(version) == (0, 0):
            yield unknown("agents-version", "agents", f"of {some(names)} no version is known")
        elif _far(version, chart.version):
            message = f"{some(names)} run {version}, more than one minor version from {chart.version}"
            pods = f"kubectl -n {namespace} delete pod -l app.kubernetes.io/component={NODE_COMPONENT}"
            todo = f"finish the upgrade before: {pods} --field-selector spec.nodeName={names[0]}"
            yield fail("agents-version", "agents", message, todo)
    if len(by_version) > 1:
        message = f"they run {' and '.join(sorted(filter(None, by_version)))}: an upgrade is under way"
        todo = f"kubectl -n {namespace} rollout status daemonset quilt-mesh"
        yield warn("agents-mixed", "agents", message, todo)


def _crds(facts: ClusterFacts, chart: Chart) -> Iterator[Finding]:
    for name, crd in facts.definitions.items():
        have, wanted = set(paths(schema_of(crd, VERSION))), set(paths(chart.crds.get(name, {})))
        lacks, more = sorted(wanted - have), sorted(have - wanted)
        others = _owners(crd) - {_HELM}
        if lacks and others:
            whose = ", ".join(sorted(others))
            message = f"it lacks {some(lacks)}; {whose} applied it, and Helm 4 stops at the conflict"
            yield warn("crd-older", f"CRD {name}", message, _apply(facts))
        elif lacks:
            message = f"it lacks {some(lacks)}, which chart {chart.version} brings with it"
            yield ok("crd-older", f"CRD {name}", message)
        if more:
            message = (
                f"it has {some(more)}, unknown to chart {chart.version}: what objects have there is lost"
            )
            yield warn(
                "crd-newer", f"CRD {name}", message, "upgrade to the version that brought this, or newer"
            )


def _owners(crd: Mapping[str, Any]) -> set[str]:
    """Who applied or changed the definition: field managers of its spec."""
    entries = (crd.get("metadata") or {}).get("managedFields") or ()
    return {str(entry.get("manager")) for entry in entries if "f:spec" in (entry.get("fieldsV1") or {})}


def _apply(facts: ClusterFacts) -> str:
    show = f"helm template quilt helm/quilt-mesh -n {facts.mesh.release_namespace} -s 'templates/crds/*.yaml'"
    return f"{show} | kubectl apply --server-side --force-conflicts --field-manager={_HELM} -f -"


def _values(chart: Chart, values: Mapping[str, Any] | None) -> Iterator[Finding]:
    if values is None or chart.values is None:
        text = "whether the chart still has them: --chart and --values tell"
        yield unknown("values", "values of the release", text)
        return
    known = list(paths(chart.values))
    gone = list(unknown_fields(dict(values), chart.values, closed=False))
    for path in gone:
        near = get_close_matches(path, known, 1, 0.5)
        message = f"chart {chart.version} has no such value, and refuses it: it was removed or renamed"
        todo = f"CHANGELOG.md says what to do{f'; is it {near[0]} now?' if near else ''}"
        yield fail("value-unknown", f"value {path}", message, todo)
    if not gone:
        yield ok("values", "values of the release", f"chart {chart.version} has all of them")


def _nodes(facts: ClusterFacts) -> Iterator[Finding]:
    for node in facts.nodes or ():
        if node.linux and not node.ready:
            message = "it is not Ready: the roll-out waits for its Pod"
            yield fail("node-not-ready", f"Node {node.name}", message, f"kubectl describe node {node.name}")
    if facts.nodes is None:
        yield unknown("node-not-ready", "Nodes", "they may not be read with these rights")


def _paused(item: Finding) -> Finding:
    """Where withdrawing waits, the fault is elsewhere: no time to replace what still works."""
    return fail("withdrawal-paused", item.about, item.message, item.todo)

"""Where each value of the chart is rendered; test_helm_rendering.py holds the chart to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ABSENT = object()
CHART = Path(__file__).parents[2] / "helm/quilt-mesh"
# Values of the network with a case of their own.
SPECIAL = ("multicast.enabled", "nodePrefixLengthV6")

NODE, OPERATOR, TEST = "DaemonSet/quilt-mesh", "Deployment/quilt-operator", "Pod/quilt-test"
POD = "spec template spec"
AGENT, RUNTIME = f"{POD} containers agent", f"{POD} containers runtime"
LEADER = f"{POD} containers operator"
DIGEST = f"sha256:{'4b' * 32}"
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "net", "effect": "NoExecute"}
AFFINITY: dict[str, Any] = {
    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
}
VARIABLE = {"name": "COLOR", "value": "green"}
RELABELING = {"action": "labeldrop", "regex": "pod"}
MULTICAST = {"network": {"multicast": {"enabled": True}}}
MONITORED = {"monitoring": {"serviceMonitor": {"enabled": True}}}
RULES = {"monitoring": {"prometheusRule": {"enabled": True}}}
DASHBOARDS = {"monitoring": {"dashboards": {"enabled": True}}}


@dataclass(frozen=True)
class Case:
    """A value, and the places (object, way in it, what is there) where it is rendered.

    `alone` marks values that hide others and so keep their default among all; `needs` is what it requires.
    """

    path: str
    value: Any
    places: tuple[tuple[str, str, Any], ...]
    alone: bool = False
    needs: dict[str, Any] = field(default_factory=dict)


def case(
    path: str, value: Any, *places: tuple[str, str, Any], alone: bool = False, needs: Any = None
) -> Case:
    return Case(path, value, places, alone, needs or {})


def network(path: str, value: Any, *places: tuple[str, str, Any]) -> Case:
    """A value of the QuiltNetwork, which the operator reads."""
    return case(f"network.{path}", value, ("ConfigMap/quilt-network", path.replace(".", " "), value), *places)


def container(prefix: str, owner: str, where: str, port: str, number: int) -> Iterator[Case]:
    """What the three processes have alike."""
    yield case(
        f"{prefix}.healthPort", number,
        (owner, f"{where} args", f":{number}"), (owner, f"{where} ports {port} containerPort", number),
        (owner, f"{where} livenessProbe httpGet port", number),
        (owner, f"{where} readinessProbe httpGet port", number),
    )  # fmt: skip
    requests = {"cpu": "77m", "memory": "77Mi"}
    yield case(f"{prefix}.resources.requests", requests, (owner, f"{where} resources requests", requests))
    yield case(f"{prefix}.extraArgs", [f"--{prefix}-extra"], (owner, f"{where} args", f"--{prefix}-extra"))
    yield case(f"{prefix}.extraEnv", [VARIABLE], (owner, f"{where} env COLOR", VARIABLE))


def pods(prefix: str, owner: str) -> Iterator[Case]:
    """What the Pods of the operator and of the nodes have alike."""
    yield case(f"{prefix}.nodeSelector", {"pool": "net"}, (owner, f"{POD} nodeSelector pool", "net"))
    yield case(f"{prefix}.tolerations", [TOLERATION], (owner, f"{POD} tolerations", [TOLERATION]))
    yield case(
        f"{prefix}.affinity", AFFINITY,
        (owner, f"{POD} affinity nodeAffinity", AFFINITY["nodeAffinity"]),
    )  # fmt: skip
    yield case(f"{prefix}.priorityClassName", "mine", (owner, f"{POD} priorityClassName", "mine"))
    labels = "spec template metadata labels"
    yield case(f"{prefix}.podLabels", {"color": "blue"}, (owner, f"{labels} color", "blue"))
    annotations = "spec template metadata annotations example.com/why"
    yield case(f"{prefix}.podAnnotations", {"example.com/why": "because"}, (owner, annotations, "because"))
    label, profile = {"type": "mesh_t", "level": "s1"}, {"type": "Unconfined"}
    security = f"{POD} securityContext"
    yield case(
        f"{prefix}.securityContext.seLinuxOptions", label, (owner, f"{security} seLinuxOptions", label)
    )
    yield case(
        f"{prefix}.securityContext.appArmorProfile", profile, (owner, f"{security} appArmorProfile", profile)
    )


def images() -> Iterator[Case]:
    everywhere = (
        (NODE, AGENT, "quilt-mesh-node:"), (NODE, RUNTIME, "quilt-mesh-node:"),
        (OPERATOR, LEADER, "quilt-mesh-operator:"), (TEST, "spec containers check", "quilt-mesh-node:"),
        ("DaemonSet/quilt-test-server", f"{POD} containers server", "quilt-mesh-node:"),
    )  # fmt: skip

    def at(make: Callable[[str], str]) -> tuple[tuple[str, str, Any], ...]:
        return tuple((owner, f"{where} image", make(name)) for owner, where, name in everywhere)

    yield case("image.registry", "r.example.com/team/", *at(lambda _: "r.example.com/team/"))
    yield case("image.repository", "fabric", *at(lambda name: name.replace("quilt-mesh", "fabric")))
    yield case("image.tag", "v9", *at(lambda _: ":v9"))
    policy = tuple((owner, f"{where} imagePullPolicy", "Always") for owner, where, _ in everywhere)
    yield case("image.pullPolicy", "Always", *policy)
    secrets = [{"name": "mine"}]
    secret = [(owner, f"{POD} imagePullSecrets", secrets) for owner in (NODE, OPERATOR)]
    yield case("image.pullSecrets", secrets, *secret, (TEST, "spec imagePullSecrets", secrets))
    for component, owners in (("node", everywhere[:2]), ("operator", everywhere[2:3])):
        for key, value, shown in (
            ("repository", "other/name", "other/name:"),
            ("tag", "v8", ":v8"),
            ("digest", DIGEST, f"@{DIGEST}"),
        ):
            places = ((owner, f"{where} image", shown) for owner, where, _ in owners)
            yield case(f"image.{component}.{key}", value, *places, alone=key != "digest")


def networks() -> Iterator[Case]:
    yield network("clusterCIDRs", ["10.8.0.0/16"], (NODE, f"{RUNTIME} args", "--cluster-cidr=10.8.0.0/16"))
    yield network("clusterCIDRsV6", ["fd42::/48"], (NODE, f"{RUNTIME} args", "--cluster-cidr=fd42::/48"))
    yield network(
        "multicast.enabled", True,
        (NODE, f"{AGENT} securityContext capabilities add", "NET_RAW"),
        (NODE, f"{AGENT} volumeMounts multicast-key mountPath", "/etc/quilt/multicast"),
        (NODE, f"{POD} volumes multicast-key secret secretName", ""),
    )  # fmt: skip
    for path, value in {
        "nodePrefixLengthV6": 80,  # an IPv4 node prefix fits into it
        "underlay.interface": "eth1,bond*",
        "underlay.cidrs": ["192.0.2.0/24", "2001:db8::/32"],
        "vxlan.device": "vx7",
        "vxlan.mtu": 1400,
        "heartbeat.interval": "5s",
        "heartbeat.timeout": "21s",
        "multicast.namespaces": ["video"],
        "disruptionThreshold": "42%",
        "reuseGracePeriod": "7m",
    }.items():
        yield network(path, value)
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["network"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())["network"]
    yield from (network(path, value) for path, value in not_defaults(schema, values) if path not in SPECIAL)


def not_defaults(
    schema: dict[str, Any], values: dict[str, Any], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the path of each number, choice and switch with a value that is not its default."""
    for name, part in schema["properties"].items():
        match part:
            case {"properties": _}:
                yield from not_defaults(part, values[name], f"{above}{name}.")
            case {"enum": choices}:
                yield f"{above}{name}", next(choice for choice in choices if choice != values[name])
            case {"type": "boolean"}:
                yield f"{above}{name}", not values[name]
            case {"type": "integer", "maximum": most}:
                yield f"{above}{name}", most


def nodes() -> Iterator[Case]:
    yield from pods("node", NODE)
    yield case("node.updateStrategy", "OnDelete", (NODE, "spec updateStrategy type", "OnDelete"), alone=True)
    yield case("node.maxUnavailable", 3, (NODE, "spec updateStrategy rollingUpdate maxUnavailable", 3))
    yield from container("agent", NODE, AGENT, "agent-http", 19470)
    yield from container("runtime", NODE, RUNTIME, "runtime-http", 19471)
    raw = (NODE, f"{AGENT} securityContext capabilities add", "NET_RAW")
    yield case("agent.netRaw", True, raw)
    yield case(
        "agent.multicastSecret", "mine", (NODE, f"{POD} volumes multicast-key secret secretName", "mine"),
        needs=MULTICAST,
    )  # fmt: skip
    for key, value, argument in (
        ("rpfProvider", "static", "--rpf-provider=static"),
        ("externalNeighborsEnabled", False, "--no-external-neighbors"),
        ("eventBufferSize", 7, "--event-buffer-size=7"),
        ("rpfCacheTTL", 7, "--rpf-cache-ttl=7"),
        ("pimInterfaces", ["eth7"], "--pim-interface=eth7"),
    ):
        yield case(f"agent.control.{key}", value, (NODE, f"{AGENT} args", argument))
    tls = {"runtime": {"tlsSecret": "tls"}}
    address = "192.0.2.1:50051"
    yield case("runtime.grpcAddr", address, (NODE, f"{RUNTIME} args", f"--grpc-addr={address}"), needs=tls)
    yield case(
        "runtime.tlsSecret", "tls", (NODE, f"{POD} volumes runtime-tls secret secretName", "tls"),
        (NODE, f"{RUNTIME} args", "--tls-cert=/etc/quilt/tls/tls.crt"),
        (NODE, f"{RUNTIME} volumeMounts runtime-tls mountPath", "/etc/quilt/tls"),
    )  # fmt: skip
    yield case("runtime.masquerade", False, (NODE, f"{RUNTIME} args", "--no-masquerade"))
    yield case(
        "cni.install", "never", (NODE, f"{AGENT} args", "--cni-install=never"),
        (NODE, f"{POD} volumes cni-bin", ABSENT), (NODE, f"{AGENT} volumeMounts cni-conf", ABSENT),
        alone=True,
    )  # fmt: skip
    yield case("cni.confName", "05-q.conflist", (NODE, f"{AGENT} args", "--cni-conf-name=05-q.conflist"))
    yield case("cni.binDir", "/var/cni/bin", (NODE, f"{POD} volumes cni-bin hostPath path", "/var/cni/bin"))
    yield case(
        "cni.confDir", "/var/cni/conf", (NODE, f"{POD} volumes cni-conf hostPath path", "/var/cni/conf")
    )


def operators() -> Iterator[Case]:
    budget = "PodDisruptionBudget/quilt-operator"
    yield from pods("operator", OPERATOR)
    yield from container("operator", OPERATOR, LEADER, "operator-http", 19472)
    yield case("operator.replicas", 3, (OPERATOR, "spec replicas", 3))
    strategy = (OPERATOR, "spec strategy", {"type": "Recreate"})
    yield case("operator.updateStrategy", "Recreate", strategy, alone=True)
    yield case(
        "operator.maxUnavailable", "50%", (OPERATOR, "spec strategy rollingUpdate maxUnavailable", "50%")
    )
    yield case("operator.podDisruptionBudget.enabled", False, (budget, "spec", ABSENT), alone=True)
    yield case("operator.podDisruptionBudget.maxUnavailable", 2, (budget, "spec maxUnavailable", 2))


def others() -> Iterator[Case]:
    everything = [
        (name, kind) for name in (NODE, OPERATOR, "Role/quilt-test") for kind in ("labels", "annotations")
    ]
    pod = [
        (name, f"spec template metadata {kind}")
        for name in (NODE, OPERATOR)
        for kind in ("labels", "annotations")
    ]
    for key, kind in (("commonLabels", "labels"), ("commonAnnotations", "annotations")):
        objects = [
            (name, f"metadata {kind} example.com/team", "net") for name, its in everything if its == kind
        ]
        templates = [(name, f"{way} example.com/team", "net") for name, way in pod if way.endswith(kind)]
        yield case(key, {"example.com/team": "net"}, *objects, *templates)
    level = "--log-level=debug"
    containers = ((NODE, AGENT), (NODE, RUNTIME), (OPERATOR, LEADER))
    yield case("logLevel", "debug", *((owner, f"{where} args", level) for owner, where in containers))
    callers = ((NODE, AGENT), (OPERATOR, LEADER), (TEST, "spec containers check"))
    for key, value, variable in (("host", "192.0.2.7", "HOST"), ("port", 6443, "PORT")):
        way = f"env KUBERNETES_SERVICE_{variable} value"
        places = ((owner, f"{where} {way}", str(value)) for owner, where in callers)
        yield case(
            f"apiServer.{key}", value, *places, needs={"apiServer": {"host": "192.0.2.7", "port": 6443}}
        )
    yield case("rbac.aggregate", False, ("ClusterRole/quilt-view", "rules", ABSENT), alone=True)
    yield case(
        "monitoring.expose", True, *((owner, f"{where} args", "=0.0.0.0:") for owner, where in containers)
    )
    monitors = ("ServiceMonitor/quilt-node", "ServiceMonitor/quilt-operator")
    where = "spec endpoints 0"
    node = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    exposed = tuple((owner, f"{where} args", "=0.0.0.0:") for owner, where in containers)
    found = tuple((monitor, f"{where} relabelings", node) for monitor in monitors)
    yield case("monitoring.serviceMonitor.enabled", True, *exposed, *found)
    settings: tuple[tuple[str, Any, str], ...] = (
        ("interval", "7s", f"{where} interval"),
        ("scrapeTimeout", "5s", f"{where} scrapeTimeout"),
        ("relabelings", [RELABELING], f"{where} relabelings"),
        ("metricRelabelings", [RELABELING], f"{where} metricRelabelings"),
    )
    for key, setting, way in settings:
        expected = RELABELING if isinstance(setting, list) else setting
        each = tuple((monitor, way, expected) for monitor in monitors)
        yield case(f"monitoring.serviceMonitor.{key}", setting, *each, needs=MONITORED)
    labels = ((monitor, "metadata labels release", "prometheus") for monitor in monitors)
    yield case("monitoring.serviceMonitor.labels", {"release": "prometheus"}, *labels, needs=MONITORED)
    rule, labels_of = "PrometheusRule/quilt-mesh", {"release": "prometheus"}
    first = "spec groups 0 rules 0"
    yield case("monitoring.prometheusRule.enabled", True, (rule, f"{first} alert", "QuiltNodeNotInSync"))
    yield case(
        "monitoring.prometheusRule.labels",
        labels_of,
        (rule, "metadata labels release", "prometheus"),
        needs=RULES,
    )
    page = ((rule, f"{first} annotations runbook_url", "https://x.test/page#quiltnodenotinsync"),)
    yield case("monitoring.prometheusRule.runbook", "https://x.test/page", *page, needs=RULES)
    dashboards = [f"ConfigMap/quilt-dashboard-{name}" for name in ("mesh", "node")]
    shown: tuple[tuple[str, str, Any], ...] = tuple(
        (one, "metadata labels grafana_dashboard", "1") for one in dashboards
    )
    yield case("monitoring.dashboards.enabled", True, *shown)
    folders = tuple((one, "metadata labels folder", "quilt") for one in dashboards)
    yield case("monitoring.dashboards.labels", {"folder": "quilt"}, *folders, needs=DASHBOARDS)
    yield case("test.timeout", 77, (TEST, "spec containers check command", "77"))


CASES = (*images(), *networks(), *nodes(), *operators(), *others())

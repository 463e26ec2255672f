"""The steps that the API's objects decide: the translation of a Service's address, and policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.objects import Raw, text
from quilt_cli.core.policies import Answer, Side, explain
from quilt_cli.core.trace.ends import Cluster, endpoints, port_behind
from quilt_cli.core.trace.host_steps import Asked
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.site import End, Site
from quilt_cli.core.trace.step import Step, step


def translated(cluster: Cluster, service: Raw, address: str, port: int, protocol: str) -> tuple[str, int]:
    """The first ready endpoint behind a Service's address, with its port; CannotTellError without one."""
    name = f"{text(service, 'metadata', 'namespace')}/{text(service, 'metadata', 'name')}"
    version = ip_address(address).version
    behind = sorted(endpoints(cluster, service, version), key=lambda one: ip_address(one[0]))
    if not behind:
        raise CannotTellError(f"Service {name} has no ready endpoint\n    → kubectl get endpointslices -A")
    found, ports = behind[0]
    inner = port_behind(service, ports, port, protocol)
    if not inner:
        given = f"{port}/{protocol}" if port else "no port"
        raise CannotTellError(
            f"Service {name} has no port {given}\n    → kubectl get service -A; give --port"
        )
    return found, inner


def service_step(site: Site, service: Raw, address: str, port: int, found: tuple[str, int]) -> Step:
    """Whether the node's packet filter translates a Service's address to one of its endpoints."""
    name = f"{text(service, 'metadata', 'namespace')}/{text(service, 'metadata', 'name')}"
    what = f"Service {name}"
    endpoint, inner = found
    expected = f"{address} port {port} → {endpoint} port {inner}"
    see = site.by_agent("nft list ruleset")
    if missing := site.lacks("nft"):
        return step("service", site.name, what, expected, missing, see, ok=None)
    proxied = _rules(site.held, name, endpoint)
    if proxied is None:
        unknown = "neither nftables' nor iptables' kube-proxy is here: not looked at"
        return step("service", site.name, what, expected, unknown, see, ok=None)
    text_ = "kube-proxy has a rule for it" if proxied else "kube-proxy has no rule for it"
    return step("service", site.name, what, expected, text_, see, ok=proxied)


def _rules(kernel: Kernel, name: str, endpoint: str) -> bool | None:
    """Whether kube-proxy leads to an endpoint of a Service; None without a kube-proxy of a known kind.

    Its chains in nftables are named `service-HASH-NAMESPACE/SERVICE/tcp/PORT`. Their rules have the
    endpoints, or lead to chains `endpoint-HASH-NAMESPACE/SERVICE/tcp/PORT__ADDRESS/PORT`.
    """
    tables = {str(one.get("name")) for one in kernel.nft("table")}
    if "kube-proxy" in tables:
        rules = [rule for rule in kernel.nft("rule") if f"-{name}/" in str(rule.get("chain"))]
        return any(endpoint in _parts(rule.get("expr")) for rule in rules)
    listings = "\n".join(map(str, (kernel.document.get("iptables") or {}).values()))
    if "KUBE-SERVICES" in listings:
        return f"--to-destination {endpoint}:" in listings or f"--to-destination [{endpoint}]:" in listings
    return None


def _parts(value: Any) -> Iterator[str]:
    """The texts in what a rule says, and of a chain's name the address at its end."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, str):
        yield value
        yield value.rpartition("__")[2].rpartition("/")[0]


def policy_step(cluster: Cluster, ends: tuple[End, End], asked: Asked) -> Step:
    """What network policies decide."""
    what, expected = f"policies for {ends[0].name} → {ends[1].name}", "allowed"
    ports = f"{asked.port or 80}/{asked.protocol if asked.protocol != 'icmp' else 'tcp'}"
    see = f"quiltctl policy explain {ends[1].name} --from {ends[0].name} --port {ports}"
    if not cluster.enforced:
        return step("policy", "", what, expected, "policies are not enforced", see, ok=True)
    answer = _asked(cluster, asked)
    denied = next((one for one in (answer.egress, answer.ingress) if not one.allowed), None)
    if denied is None:
        return step("policy", "", what, expected, "allowed", see, ok=True)
    found = f"denied, {denied.direction.lower()}: {_why(denied)}"
    return step("policy", "", what, expected, found, see, ok=False)


def refusal(cluster: Cluster, node: Site, end: End, asked: Asked) -> str:
    """The policy that keeps a node's own packets from a pod of another node; empty where none does."""
    if not cluster.enforced or not end.is_pod:
        return ""
    answer = _asked(cluster, Asked(node.vtep, end.address, asked.protocol, asked.port))
    return "" if answer.ingress.allowed else _why(answer.ingress)


def _asked(cluster: Cluster, asked: Asked) -> Answer:
    return explain(cluster.world, asked.source, asked.target, asked.port, asked.protocol.upper())


def _why(side: Side) -> str:
    return ", ".join(side.policies) or side.reason

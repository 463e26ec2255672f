"""Pods that connect once, at their first instant, and end: how often the kernel had to ask again."""

from __future__ import annotations

from typing import Any

from tests.support.mesh import Mesh, Pod, pod_manifest, until
from tests.support.traffic import PORT_HTTP

LABEL = "policy-job"
JOBS = {"podSelector": {"matchLabels": {"app": LABEL}}}
"""The peer that is these pods."""
AT_ONCE = 6
# The shell is there sooner than any other program that connects. Its namespace counts for this pod alone.
CONNECT = "exec 3<>/dev/tcp/$0/$1 && echo connected; grep '^TcpExt: ' /proc/net/netstat"


def run_jobs(mesh: Mesh, count: int, server: Pod) -> dict[str, int]:
    """Start so many, some at a time, in turn on all nodes: by name the SYNs that were sent again."""
    nodes = mesh.nodes()
    jobs = {f"{LABEL}-{number}": nodes[number % len(nodes)] for number in range(count)}
    batches = [list(jobs.items())[at : at + AT_ONCE] for at in range(0, count, AT_ONCE)]
    return {name: sent for batch in batches for name, sent in _run(mesh, dict(batch), server).items()}


def _run(mesh: Mesh, jobs: dict[str, str], server: Pod) -> dict[str, int]:
    mesh.apply(*(_job(name, node, server.ip) for name, node in jobs.items()))
    until("jobs end", lambda: _ended(mesh) == len(jobs), timeout=180)
    logs = mesh.kubectl("logs", "-l", f"app={LABEL}", "--prefix", "--tail=-1", "--max-log-requests=10")
    mesh.delete_pods(*jobs)
    lines = logs.splitlines()
    return {name: _sent_again([line for line in lines if f"/{name}/" in line]) for name in jobs}


def _job(name: str, node: str, address: str) -> dict[str, Any]:
    manifest = pod_manifest(name, node, {"app": LABEL})
    manifest["spec"]["restartPolicy"] = "Never"
    manifest["spec"]["containers"][0]["command"] = ["bash", "-c", CONNECT, address, str(PORT_HTTP)]
    return manifest


def _ended(mesh: Mesh) -> int:
    items = mesh.get("pods", "-l", f"app={LABEL}")["items"]
    return sum(item["status"].get("phase") in {"Succeeded", "Failed"} for item in items)


def _sent_again(lines: list[str]) -> int:
    """TCPSynRetrans of /proc/net/netstat, which has names in one line and values in the next."""
    assert any(line.endswith(" connected") for line in lines), lines
    names, values = (line.split("TcpExt: ")[1].split() for line in lines if " TcpExt: " in line)
    return int(values[names.index("TCPSynRetrans")])

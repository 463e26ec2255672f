"""`make demo`: a real three-node Kubernetes on this machine with Quilt Mesh as its pod network.

Builds what is missing (the first time about ten minutes), starts the cluster, installs the chart, starts a
pod on each node and shows that every pod reaches every other. `demo.py down` removes it all.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from quilt_devcluster import Cluster, DevclusterError, bringup, product
from quilt_devcluster.main import cli as devcluster

NAME = "demo"
ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "quilt-mesh"
PODS = Path(__file__).with_name("pods.yaml")
BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"\033[1m[{time.monotonic() - BEGAN:5.0f} s]\033[0m {text}", flush=True)


def fail(text: str) -> NoReturn:
    """End with a message and leave the cluster for a look."""
    sys.exit(f"\nThe demo stopped: {text}\nLook around with `quilt-devcluster status --name {NAME}`, "
             "or remove it with `make demo-down`.")  # fmt: skip


def wait(what: str, check: Callable[[], str], timeout: float) -> None:
    """Show what `check` says is still missing until it says nothing."""
    deadline = time.monotonic() + timeout
    shown = ""
    while missing := check():
        if missing != shown:
            say(f"  waiting for {what}: {missing}")
            shown = missing
        if time.monotonic() > deadline:
            fail(f"{what} not within {timeout:.0f} s: {missing}")
        time.sleep(0.5)


def items(cluster: Cluster, *kinds: str) -> list[dict]:
    """The objects that kubectl lists."""
    return json.loads(cluster.kubectl("get", *kinds, "-o", "json"))["items"]


def nodes_missing(cluster: Cluster) -> str:
    """Which nodes are not Up and Ready yet."""
    phases = {
        item["metadata"]["name"]: item.get("status", {}).get("phase") for item in items(cluster, "quiltnodes")
    }
    ready = cluster.ready_nodes()
    return ", ".join(node for node in cluster.nodes if phases.get(node) != "Up" or not ready.get(node))


def pods_missing(cluster: Cluster) -> str:
    """Which pods do not run yet, CoreDNS included."""
    found = items(cluster, "pods", "-A", "--field-selector=status.phase!=Succeeded")
    return ", ".join(pod["metadata"]["name"] for pod in found if not is_ready(pod))


def is_ready(pod: dict) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = pod["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def reach(cluster: Cluster) -> None:
    """Ping at the full MTU and HTTP from every pod to every other, and the Service by its name."""
    pods = {p["metadata"]["name"]: p for p in items(cluster, "pods", "-l", "app=hello")}
    for source, target in itertools.permutations(pods, 2):
        address = pods[target]["status"]["podIP"]
        inside = ("exec", source, "--")
        cluster.kubectl(*inside, "ping", "-c2", "-i0.2", "-W2", "-Mdo", "-s1422", address)
        answer = cluster.kubectl(*inside, *fetch(f"http://{address}:8080/")).strip()
        if answer != target:
            fail(f"{source} asked {target} at {address} and got {answer!r}")
        say(f"  {source} → {target} ({address}): ping 1450 bytes ok, HTTP ok")
    for source in pods:
        answer = cluster.kubectl("exec", source, "--", *fetch("http://hello.default.svc.cluster.local:8080/"))
        say(f"  {source} → Service hello by its DNS name: {answer.strip()} answered")


def fetch(url: str) -> list[str]:
    """A command that prints what a URL answers, with what the image has."""
    return [
        "python3",
        "-c",
        f"import urllib.request as u;print(u.urlopen('{url}',timeout=5).read().decode())",
    ]


def show(cluster: Cluster) -> None:
    """Print what an operator of a cluster would look at."""
    node = cluster.nodes[0]
    for command in ("get nodes,quiltnodes,quiltsubnets -o wide", "get pods -o wide"):
        print(f"\n$ kubectl {command}\n{cluster.kubectl(*command.split())}", end="")
    for command in ("ip route show | grep vxlan100", "bridge fdb show dev vxlan100"):
        print(f"\n{node}$ {command}\n{cluster.exec(node, ['sh', '-c', command]).stdout}", end="")


def status(cluster: Cluster) -> None:
    """`quiltctl status`, as a person runs it."""
    from quilt_cli.main import cli as quiltctl

    print("\n$ quiltctl status", flush=True)
    quiltctl.main(["--kubeconfig", str(cluster.kubeconfig), "status"], standalone_mode=False)


def start() -> Cluster:
    """The running demo cluster, or a new one with the current images."""
    say("building what is missing (Kubernetes, containerd, helm, our images; cached for the next time)")
    devcluster.main(["build", "--images"], standalone_mode=False)
    archives = product.build(say)
    try:
        cluster = Cluster.attach(NAME)
        say("the cluster runs already")
        cluster.load_images(*archives)
    except DevclusterError:
        say("starting a cluster: a control plane and three nodes")
        cluster = Cluster.up(NAME, 3, progress=print)
    return cluster


def up() -> None:
    """The whole demo."""
    cluster = start()
    say("helm install quilt helm/quilt-mesh -n quilt-system --create-namespace")
    cluster.helm(
        "upgrade", "--install", "quilt", str(CHART), "-n", "quilt-system", "--create-namespace",
        "--set", "image.tag=dev",
    )  # fmt: skip
    wait("nodes", lambda: nodes_missing(cluster), 180)
    say("a pod on each node")
    cluster.kubectl("apply", "-f", str(PODS))
    wait("pods", lambda: pods_missing(cluster), 120)
    reach(cluster)
    show(cluster)
    status(cluster)
    say("done")
    print(f"""
What to try next (the cluster stays until `make demo-down`):
  export PATH=$PWD/.venv/bin:$PATH KUBECONFIG={cluster.kubeconfig}
  quiltctl status                                     who is Up, who is in sync, what is wrong
  quiltctl connectivity test                          every pod to every pod, in a table
  quilt-devcluster add-node --name demo            a fourth node joins by itself
  quilt-devcluster exec --name demo {cluster.nodes[0]} -- ip link del vxlan100      …and look: it is back
  quilt-devcluster stop-node --name demo {cluster.nodes[-1]}    Down within 33 s, its routes gone everywhere
""")


def main() -> None:
    """`demo.py up` or `demo.py down`."""
    sys.stdout.reconfigure(line_buffering=True)
    try:
        if sys.argv[1:] == ["down"]:
            bringup.down(NAME)
            say("the demo cluster is gone")
        else:
            up()
    except DevclusterError as error:
        fail(str(error))


if __name__ == "__main__":
    main()

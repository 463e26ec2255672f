"""The whole list of plugins that the agent installs, called as a container engine calls it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quilt_nodeagent.cni import conflist
from tests.support.namespaces import Namespace
from tests.support.runtime_node import ROOT, Node

Make = Callable[[], Namespace]
LIMIT = {"bandwidth": {"egressRate": 1_000_000, "egressBurst": 800_000}}


@pytest.fixture(scope="module")
def programs(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Our plugin and the common one, each built as the image builds it."""
    path = tmp_path_factory.mktemp("plugins") / "bandwidth"
    package = "github.com/containernetworking/plugins/plugins/meta/bandwidth"
    command = ["go", "build", "-trimpath", "-o", str(path), package]
    subprocess.run(command, cwd=ROOT / "cni" / "plugins", env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return {"quilt-cni": plugin, "bandwidth": path}


def call(
    node: Node, programs: dict[str, Path], verb: str, pod: Namespace, wishes: dict[str, Any]
) -> dict[str, Any]:
    """Call each plugin with those wishes that it has a capability for; the last one's result."""
    listed = json.loads(conflist(str(node.socket_dir / "cni.sock")))
    env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": pod.name, "CNI_IFNAME": "eth0", "CNI_NETNS": pod.path}
    result: dict[str, Any] = {}
    for conf in listed["plugins"]:
        if conf["type"] not in programs:
            continue
        granted = {name: wishes[name] for name in conf.get("capabilities", {}) if name in wishes}
        conf |= {"name": listed["name"], "cniVersion": "1.0.0", "runtimeConfig": granted}
        conf |= {"prevResult": result} if result else {}
        done = subprocess.run(
            ["ip", "netns", "exec", node.netns.name, programs[conf["type"]]],
            input=json.dumps(conf), env={**os.environ, **env, "CNI_PATH": "/nowhere"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout) if done.stdout.strip() else result
    return result


def shapers(node: Node) -> list[str]:
    """Token buckets on the node's interfaces."""
    return [line for line in node.netns.run("tc", "qdisc", "show").splitlines() if " tbf " in line]


def test_the_bandwidth_annotation_limits_a_pod(
    ready_node: Node, programs: dict[str, Path], make_netns: Make
) -> None:
    """u6: kubernetes.io/egress-bandwidth shapes what the pod sends, and other pods are left alone."""
    pod, other = make_netns(), make_netns()
    assert call(ready_node, programs, "ADD", other, {})["ips"]
    assert shapers(ready_node) == []
    assert call(ready_node, programs, "ADD", pod, LIMIT)["ips"]
    (shaper,) = shapers(ready_node) or ["nothing is shaped"]
    assert "rate 1Mbit" in shaper
    for gone in (pod, other):
        call(ready_node, programs, "DEL", gone, {})
    assert shapers(ready_node) == []

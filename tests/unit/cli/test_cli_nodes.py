"""Nodes are asked side by side, and one that does not answer says why without holding up the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from quilt_cli.api.read_nodes import AT_ONCE, NodePod, node_pod, node_pods, read_dumps, side_by_side
from quilt_crds.names import AGENT_HEALTH_PORT
from quilt_kube.access import Access
from quilt_kube.channels import CommandError
from quilt_kube.request import UnreachableError
from quilt_kube.sync import Client
from tests.support.cli_fakeapi import FakeApi


def pod(node: str, *running: str, **ports: int) -> dict[str, Any]:
    listed = [{"name": name, "containerPort": number} for name, number in ports.items()]
    state = {name: {"running": {}} if name in running else {} for name in ("agent", "runtime")}
    return {
        "metadata": {"namespace": "q", "name": f"quilt-{node}"},
        "spec": {"nodeName": node, "containers": [{"name": "agent", "ports": listed}]},
        "status": {"containerStatuses": [{"name": name, "state": held} for name, held in state.items()]},
    }


class Nodes(Client):
    """Nodes that answer, raise, or whatever a test says."""

    def __init__(self, answers: dict[str, bytes | Exception]) -> None:
        super().__init__(Access("http://127.0.0.1:1"), agent="test")
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def execute(
        self, namespace: str, pod: str, container: str, command: Sequence[str], *, within: float | None = None
    ) -> bytes:
        self.asked.append((pod, container))
        answer = self.answers[pod]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_agents_container_is_asked_or_else_the_runtimes() -> None:
    assert node_pod(pod("a", "agent", "runtime")).container == "agent"
    assert node_pod(pod("a", "runtime")).container == "runtime"
    assert node_pod(pod("a")).container == ""
    assert node_pod(pod("a", "agent", **{"agent-http": 1234})).agent_port == 1234
    assert node_pod({"metadata": {}}).agent_port == AGENT_HEALTH_PORT


def test_pods_without_a_node_are_not_asked(api: FakeApi) -> None:
    api.answers["/api/v1/pods"] = (200, {"items": [pod("b", "agent"), pod("", "agent"), pod("a", "agent")]})
    assert [item.node for item in node_pods(Client(Access(api.url), agent="test"))] == ["a", "b"]


def test_each_node_is_a_document_or_why_there_is_none() -> None:
    client = Nodes(
        {
            "quilt-a": json.dumps({"node": "a"}).encode(),
            "quilt-b": UnreachableError("no answer in time"),
            "quilt-c": CommandError("Error: No such command 'node'."),
            "quilt-d": b"not JSON",
        }
    )
    gone = NodePod("e", "q", "quilt-e", "", trouble="gone")
    pods = [*(node_pod(pod(name, "agent")) for name in "abcd"), gone]
    dumps, silent = read_dumps(client, pods)
    assert dumps == {"a": {"node": "a"}}
    assert silent.keys() == {"b", "c", "d", "e"}
    assert silent["b"] == "the node gave no answer: no answer in time"
    assert "No such command" in silent["c"]
    assert silent["e"] == "no container of pod quilt-e runs (gone)"
    assert ("quilt-e", "") not in client.asked


def test_many_are_asked_by_few_threads() -> None:
    threads = set()

    def one(number: int) -> int:
        threads.add(threading.get_ident())
        return number * 2

    assert sorted(side_by_side(one, range(500))) == list(range(0, 1000, 2))
    assert len(threads) <= AT_ONCE


@pytest.mark.parametrize("of", [0, 1, AT_ONCE + 1])
def test_any_number_of_nodes(of: int) -> None:
    assert len(list(side_by_side(str, range(of)))) == of

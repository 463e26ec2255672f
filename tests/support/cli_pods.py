"""A cluster of dictionaries whose kubelets run whatever pod is made, for commands that test by pods."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from quilt_kube.request import ApiError, Json
from quilt_kube.sync import Client

READY = [{"type": "Ready", "status": "True"}]


class Cluster:
    """Nodes n1 and n2 whose kubelets run whatever pod is made; `blocked` are hosts that do not answer."""

    def __init__(self) -> None:
        self.nodes = [{"metadata": {"name": name}, "status": {"conditions": READY}} for name in ("n1", "n2")]
        self.made: dict[str, Json] = {}
        self.blocked: set[str] = set()
        self.serving = True
        self.deleted: list[str] = []
        self.progress: list[str] = []
        self.measured: Callable[[Json], Json] = lambda pod: {}
        """What a pod that measures writes."""

    @property
    def client(self) -> Client:
        return cast("Client", self)

    def create(self, path: str, body: Any) -> Json:
        self.made[body["metadata"]["name"]] = body
        return {**body, "spec": {"clusterIP": "10.96.0.9"}}

    def items(self, path: str, query: dict[str, str] | None = None) -> list[Json]:
        selector = (query or {}).get("labelSelector", "")
        if path == "/api/v1/nodes":
            return self.nodes
        if path == "/apis/apps/v1/daemonsets":
            image = {"spec": {"containers": [{"image": "node:1"}]}}
            return [{"metadata": {"name": "quilt-mesh", "namespace": "q"}, "spec": {"template": image}}]
        if not path.endswith("/pods"):
            return []
        if "server" in selector:
            return [self._server(index) for index in (1, 2)] if self.serving else []
        ended = {"status": {"phase": "Succeeded"}}
        return [made | ended for made in self.made.values() if made["kind"] == "Pod"]

    def _server(self, index: int) -> Json:
        status = {"conditions": READY, "podIP": f"10.42.{index}.2", "hostIP": f"192.0.2.{index}"}
        metadata = {"name": f"server-{index}"}
        return {"metadata": metadata, "spec": {"nodeName": f"n{index}"}, "status": status}

    def get(self, path: str) -> Json:
        if "/pods/" in path:
            node = self.made[path.rpartition("/")[2]]["spec"]["nodeName"]
            return self._server(int(node.removeprefix("n"))) if self.serving else {"status": {}}
        return {"status": {"desiredNumberScheduled": 2, "numberReady": 2 if self.serving else 0}}

    def find(self, path: str) -> Json | None:
        return None if path in self.deleted else {"metadata": {}}

    def delete(self, path: str) -> None:
        self.deleted.append(path)

    def text(self, path: str) -> str:
        """What the pod wrote: a look at its node, or answers to its questions."""
        pod = self.made[path.split("/")[-2]]
        container = pod["spec"]["containers"][0]
        if "measure" in container["command"]:
            return json.dumps(self.measured(pod))
        if container["command"][0] == "quiltctl":
            found = {"level": "warn", "code": "kernel", "object": f"node {pod['spec']['nodeName']}"}
            return json.dumps({"findings": [found | {"message": "old", "todo": "upgrade it"}]})
        if pod["spec"]["nodeName"] in self.blocked:
            raise ApiError(500, "no log")
        asked = json.loads(container["env"][0]["value"])
        answers = [item | {"ok": item["host"] not in self.blocked, "attempts": 1} for item in asked]
        return "a line before\n" + json.dumps(answers)

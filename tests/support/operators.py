"""Operators as processes of this machine, and nodes that exist only as API objects and renewed Leases."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from quilt_crds.names import (
    AGENT_FIELD_MANAGER,
    KUBELET_LEASE_NAMESPACE,
    LEASE_NAMESPACE,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
)
from tests.support.controlplane import NAMESPACE, Api, ControlPlane, Json, thing

T = TypeVar("T")
MICRO = "%Y-%m-%dT%H:%M:%S.%fZ"


def eventually(ask: Callable[[], T], what: str, within: float = 30.0) -> T:
    """Ask until the answer is true, once more after the time; fail with the last answer."""
    deadline = time.monotonic() + within
    while True:
        final = time.monotonic() > deadline
        if answer := ask():
            return answer
        assert not final, f"{what}: {answer!r} after {within:g} s"
        time.sleep(0.05)


INSTALLED = (
    "--set=network.heartbeat.interval=1s",
    "--set=network.heartbeat.timeout=4s",
    "--set=network.reuseGracePeriod=8s",
)
"""Heartbeats of a tenth of the defaults, so that silence is seen within a test."""


def install(plane: ControlPlane) -> None:
    """The chart, with these times."""
    plane.install(*INSTALLED)


def names(count: int) -> list[str]:
    return [f"node-{number}" for number in range(1, count + 1)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Operator:
    """One operator process, with the operator's own account unless configured otherwise."""

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str, *arguments: str, admin: bool = False
    ) -> None:
        config = json.loads(plane.cluster.kubeconfig.read_text())
        if not admin:
            token = plane.cluster.kubectl("create", "token", "quilt-operator", "-n", NAMESPACE).strip()
            config["users"][0]["user"] = {"token": token}
        kubeconfig = folder / f"{name}.kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        self.log = folder / f"{name}.log"
        self.address = f"127.0.0.1:{free_port()}"
        program = [sys.executable, "-m", "quilt_operator", f"--kubeconfig={kubeconfig}", f"--identity={name}"]
        self._command = [*program, f"--health-addr={self.address}", *arguments]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=output)

    def restart(self) -> None:
        """Kill it (SIGKILL) and start it again, with an empty log."""
        self.kill()
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- {self.log.name}\n{self.log.read_text()}")
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """SIGTERM; answers the exit status."""
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=30)
        self.log.replace(self.log.with_suffix(".ended"))
        self.log.touch()
        return status

    def logged(self, event: str) -> list[Json]:
        """Log records of one event; not of a line that is still being written."""
        complete = self.log.read_text().rpartition("\n")[0]
        lines = [line for line in complete.splitlines() if line.startswith("{")]
        return [record for record in map(json.loads, lines) if record["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Ask the probes' server; status 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def leads(self) -> bool:
        return bool(self.logged("state_read")) and self.ready()

    def metric(self, name: str, labels: str = "") -> float:
        """Sum of all samples of a metric whose labels match the pattern."""
        pattern = rf"^{name}(?:\{{(.*)\}})? (\S+)$"
        found = re.findall(pattern, self.get("/metrics")[1], re.MULTILINE)
        return sum(float(value) for text, value in found if re.search(labels, text))

    def writes(self, *, without_network: bool = False) -> float:
        """Writes to the API server other than the leader's own Lease and Events."""
        left_out = "leases|events" + ("|quiltnetworks.*" if without_network else "")
        return self.metric("quilt_operator_api_writes_total", rf'resource="(?!({left_out})")')


class Fleet:
    """Nodes as their agents and kubelets would show them, renewing both Leases twice a second.

    Not at the chart's interval: the guard counts a node that is half an interval late, and a machine that is
    busy would make all of them late.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.api: Api = plane.admin
        self._cluster = plane.cluster
        self.agents: set[str] = set()
        self.kubelets: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def join(self, *names: str) -> None:
        """Register nodes one after the other: Node with its address, QuiltNode, the agent's status."""
        for name in names:
            self.host(name)
            self.revive(name)
            self.register(name)

    def host(self, name: str) -> None:
        """Make the Node and have its address confirmed by its status."""
        meta = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        self.api.create("/api/v1/nodes", meta)
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address(name)}]}}
        self.api.merge(f"/api/v1/nodes/{name}/status", status).ok()

    def register(self, name: str, host_ip: str = "", served: Iterable[str] = ()) -> None:
        """What an agent does when it starts; `served` are the subnets of its node's runtime."""
        self.api.create(QUILTNODE.path(), thing(QUILTNODE, name, spec={}))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [
            {"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": now}
            for kind in ("DataplaneInSync", "RuntimeReady")
        ]
        status: Json = {"hostIP": host_ip or address(name), "conditions": conditions}
        if subnets := list(served):
            status["servedSubnets"] = subnets
        body = thing(QUILTNODE, name, status=status)
        self.api.apply(QUILTNODE.path(name, "status"), body, AGENT_FIELD_MANAGER).ok()

    def revive(self, *names: str) -> None:
        self.agents |= set(names)
        self.kubelets |= set(names)

    def silence(self, *names: str) -> None:
        self.agents -= set(names)
        self.kubelets -= set(names)

    def leave(self, *names: str) -> None:
        """Delete QuiltNodes and their Nodes."""
        self.silence(*names)
        for name in names:
            self.api.request("DELETE", QUILTNODE.path(name))
            self.api.request("DELETE", f"/api/v1/nodes/{name}")

    def crowd(self, *names: str) -> None:
        """Register many nodes at once: QuiltNodes whose address an administrator gave, without Leases."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._register_at_once, names))

    def _register_at_once(self, name: str) -> None:
        self.api.create(QUILTNODE.path(), thing(QUILTNODE, name, spec={"hostIP": address(name)})).ok()

    def clear(self, operator: Operator) -> None:
        """Delete everything that tests made, and wait until the operator has seen that."""
        self.agents.clear()
        self.kubelets.clear()
        for path in (QUILTNODE.path(), "/api/v1/nodes", QUILTSUBNET.path()):
            self.api.request("DELETE", path)
        states = 'state="(allocated|quarantined)"'
        eventually(
            lambda: not self.claims() and not operator.metric("quilt_operator_subnets", states),
            "all is gone",
            60,
        )

    def node(self, name: str) -> Json:
        return self.api.get(QUILTNODE.path(name)).body

    def phase(self, name: str) -> str:
        return str(self.node(name).get("status", {}).get("phase", ""))

    def condition(self, name: str, kind: str) -> str:
        """`status/reason` of a QuiltNode's condition."""
        found = self.node(name).get("status", {}).get("conditions", [])
        return next((f"{item['status']}/{item['reason']}" for item in found if item["type"] == kind), "")

    def claims(self) -> dict[str, Json]:
        """All claims by CIDR."""
        items = self.api.get(QUILTSUBNET.path()).ok()["items"]
        return {item["spec"]["cidr"]: item for item in items}

    def claim_of(self, name: str) -> Json:
        """The one claim of a node: `{cidr, phase, hostIP}`; empty without."""
        mine = [item for item in self.claims().values() if item["spec"]["node"] == name]
        assert len(mine) <= 1, f"{name} has {[item['spec']['cidr'] for item in mine]}"
        return {"cidr": mine[0]["spec"]["cidr"], **mine[0]["mesh"]} if mine else {}

    def owners(self) -> dict[str, list[str]]:
        """Subnets by node."""
        found: dict[str, list[str]] = {}
        for cidr, item in self.claims().items():
            found.setdefault(item["spec"]["node"], []).append(cidr)
        return found

    def network(self) -> Json:
        return self.api.get(QUILTNETWORK.path("default")).ok()

    def one_each(self) -> bool:
        """Whether no node has two subnets that are in use."""
        used = [c["spec"]["node"] for c in self.claims().values() if c["mesh"]["phase"] != "Releasing"]
        return len(used) == len(set(used))

    def everyone_has_one(self, names: Iterable[str]) -> bool:
        """Whether every node has a subnet; fails when one has two (two nodes cannot share a name)."""
        owners = self.owners()
        assert all(len(cidrs) == 1 for cidrs in owners.values()), owners
        return set(names) <= owners.keys()

    def _renew(self) -> None:
        made: set[tuple[str, str]] = set()
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = time.monotonic() + 0.5
            for namespace, names in (
                (LEASE_NAMESPACE, self.agents),
                (KUBELET_LEASE_NAMESPACE, self.kubelets),
            ):
                for name in sorted(names):
                    # The API server may be away or end in the midst of an answer, as some tests want it.
                    with suppress(OSError, HTTPException, ValueError):
                        self._renew_one(namespace, name, made)

    def _renew_one(self, namespace: str, name: str, made: set[tuple[str, str]]) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        spec: dict[str, Any] = {"holderIdentity": name, "renewTime": datetime.now(UTC).strftime(MICRO)}
        if (namespace, name) not in made:
            meta = {"name": name}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            # An API server that has just come back may refuse it; a Lease of an earlier test may be there.
            if self.api.create(path, body).status in {201, 409}:
                made.add((namespace, name))
        self.api.merge(f"{path}/{name}", {"spec": spec})


def address(name: str) -> str:
    """The address of node `x-N`: one for each N below 65536, from where they begin again."""
    number = int(name.rpartition("-")[2])
    return f"192.168.{number // 256 % 256}.{number % 256}"

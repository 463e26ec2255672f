"""A node with a runtime, an agent and an API server as processes of which each may be killed or stopped.

The API server listens within the node's namespace. `Restlessness` kills (SIGKILL, started again) or stops
(SIGSTOP, SIGCONT) one of them now and then, at instants that a seed decides.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import grpc

from quilt_crds.names import claim_name
from quilt_proto import node_pb2, node_pb2_grpc
from tests.support.agent_api import GROUP, Json
from tests.support.namespaces import Namespace
from tests.support.pods_scene import PODS, POLICIES
from tests.support.runtime_node import NET_ADMIN_ALONE, ROOT, TIMEOUT, CniResult, Node, eventually

API_PORT = 6480
HOST, SUBNET = "198.18.0.1", "10.42.1.0/24"
LONG_S = 10 * TIMEOUT
"""Until something that is disturbed again and again has to have happened."""
MOST_BETWEEN, AGAIN = 16, 0.2
"""Most steps forward between two disturbances, and the chance of another one at once."""
WITHIN_S, STOPPED_S = (0.0, 0.5), (0.05, 1.5)
"""Seconds from a step forward to the disturbance, and for which a process is stopped."""


class Program:
    """One process in the node's namespace; started again with the same arguments."""

    def __init__(self, log: Path, *command: str) -> None:
        self.command = command
        self.log = log
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = self._open(log)

    def _open(self, log: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, text=True)

    def await_event(self, name: str) -> None:
        eventually(lambda: f'"event": "{name}"' in self.log.read_text(), f"{name} in {self.log}")

    def kill(self) -> None:
        """End it without a chance to say goodbye, also while it is stopped."""
        self.process.kill()
        self.process.wait()


class ApiProgram(Program):
    """The API server; a change that it was killed before keeping is made again by its successor."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()

    def _open(self, log: IO[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=log, text=True)

    def change(self, *change: Any) -> None:
        """Have an object kept: `put`, collection, object; or deleted: `delete`, collection, key."""
        eventually(lambda: self._change(json.dumps(change)), f"the API server keeps {change}", LONG_S)

    def _change(self, line: str) -> bool:
        with self._lock, suppress(OSError):
            process = self.process
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline() == "kept\n"
        return False


class RestlessNode:
    """The node `self`: its agent is ready and enforces policies when `start` returns."""

    def __init__(self, netns: Namespace, folder: Path, plugin: Path) -> None:
        self.netns = netns
        self.node = Node(netns, folder, plugin)
        enter = ("ip", "netns", "exec", netns.name)
        python = (sys.executable, "-m")
        served = (str(folder / "journal"), str(API_PORT), PODS, POLICIES)
        self.api = ApiProgram(folder / "api.log", *enter, *python, "tests.support.kept_api", *served)
        sockets = self.node.socket_dir
        runtime = (*enter, *NET_ADMIN_ALONE, *python, "quilt_runtime", f"--socket-dir={sockets}")
        self.runtime = Program(folder / "runtime.log", *runtime)
        agent = (*enter, *python, "quilt_nodeagent", "--node-name=self", "--proc-sys-net=/proc/sys/net")
        self.agent = Program(
            folder / "agent.log",
            *agent,
            *_agent_files(folder),
            f"--runtime-addr=unix://{sockets}/runtime.sock",
        )
        self.programs = {"api": self.api, "runtime": self.runtime, "agent": self.agent}

    def __enter__(self) -> Self:
        for program in self.programs.values():
            program.start()
        node = {"status": {"addresses": [{"type": "InternalIP", "address": HOST}]}}
        wanted = {"policy": {"enabled": True}, "probes": {"enabled": False}}
        claim = {"cidr": SUBNET, "network": "default", "node": "self"}
        mesh = {"phase": "Up", "hostIP": HOST}
        self.put("/api/v1/nodes", {"metadata": {"name": "self"}, **node})
        self.put(f"{GROUP}/quiltnetworks", {"metadata": {"name": "default"}, "spec": wanted})
        self.put(
            f"{GROUP}/quiltsubnets",
            {"metadata": {"name": claim_name(SUBNET)}, "spec": claim, "mesh": mesh},
        )
        self.agent.await_event("policies_enforced")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self.programs.values():
            program.kill()

    def put(self, collection: str, item: Json) -> None:
        self.api.change("put", collection, item)

    def delete(self, collection: str, key: str) -> None:
        self.api.change("delete", collection, key)

    def try_add(self, container: str, pod: Namespace, address: str, name: str, uid: str) -> CniResult:
        """ADD of a pod that wishes an address."""
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}"
        wished = {"ips": [address]}
        return self.node.cni("ADD", container, pod.path, arguments=arguments, runtimeConfig=wished)

    def remove(self, container: str, pod: Namespace) -> None:
        """End a container as its engine does: DEL, then its namespace is removed with the interface.

        DEL is answered without a runtime, too, and then has to be repeated: who holds what is asked.
        """
        eventually(lambda: self._removed(container, pod), f"{container} is gone", LONG_S)

    def _removed(self, container: str, pod: Namespace) -> bool:
        if self.node.cni("DEL", container, pod.path).code:
            return False
        pod.run("sh", "-c", "ip link delete eth0 2>/dev/null || true")
        own = [("grpc.use_local_subchannel_pool", 1)]
        with (
            suppress(grpc.RpcError),
            grpc.insecure_channel(f"unix:{self.node.socket_dir}/runtime.sock", own) as channel,
        ):
            asked = node_pb2.ListAllocationsRequest()
            listed = node_pb2_grpc.IpamStub(channel).ListAllocations(asked, timeout=10)
            return container not in {one.container_id for one in listed.allocations}
        return False


def _agent_files(folder: Path) -> list[str]:
    """The agent's arguments that name files, which are made."""
    user = {"name": "test", "user": {}}
    cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{API_PORT}"}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "test"}
    (folder / "kubeconfig").write_text(json.dumps(config))
    for name in ("src", "bin", "conf"):
        (folder / name).mkdir()
    for name in ("quilt-cni", "loopback", "portmap", "bandwidth"):
        (folder / "src" / name).write_text("")
    return [
        f"--kubeconfig={folder / 'kubeconfig'}",
        *(f"--cni-{name}-dir={folder / name}" for name in ("src", "bin", "conf")),
    ]


class Restlessness:
    """While entered, disturbs a node's processes; `done` counts what was done to whom.

    How often depends on what is reached meanwhile (`step`), so that a busy machine is given its time.
    """

    def __init__(self, node: RestlessNode, seed: int) -> None:
        self._node = node
        self._random = random.Random(seed)
        self._steps = threading.Semaphore(0)
        self._calm = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calm.set()
        self._steps.release(MOST_BETWEEN)
        self._thread.join()

    def step(self) -> None:
        """Tell that something was reached, from any thread."""
        self._steps.release()

    def _run(self) -> None:
        while not self._calm.is_set():
            if self._random.random() >= AGAIN:
                for _ in range(self._random.randint(1, MOST_BETWEEN)):
                    self._steps.acquire()
            if not self._calm.wait(self._random.uniform(*WITHIN_S)):
                self._disturb(*self._random.choice(sorted(self._node.programs.items())))

    def _disturb(self, name: str, program: Program) -> None:
        if self._random.random() < 0.5:
            program.kill()
            self._calm.wait(self._random.uniform(*WITHIN_S))
            program.start()
            self.done[f"{name} killed"] += 1
        else:
            program.process.send_signal(signal.SIGSTOP)
            self._calm.wait(self._random.uniform(*STOPPED_S))
            program.process.send_signal(signal.SIGCONT)
            self.done[f"{name} stopped"] += 1

"""One cluster, as its commands and its tests handle it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from quilt_devcluster import bringup, control, controlplane, enter, nodes, plan, registry, state
from quilt_devcluster.binaries import program
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind
from quilt_devcluster.shell import run

Progress = Callable[[str], None]
DEFAULT_NAME = "quilt"


def _silent(_: str) -> None:
    """Tell nobody."""


class Cluster:
    """A running cluster. Make one with `Cluster.up`, find a running one with `Cluster.attach`."""

    def __init__(self, facts: state.State) -> None:
        """Use `up` or `attach`."""
        self._state = facts

    @classmethod
    def up(
        cls,
        name: str = DEFAULT_NAME,
        nodes: int = 3,
        *,
        images: Sequence[Path] | None = None,
        progress: Progress = _silent,
        **switches: Any,
    ) -> Cluster:
        """Start a cluster and return it when its API is ready and its Nodes are registered.

        `images` are archives loaded on every node besides the base ones; None means the product's, as built
        last. `nodes=0` starts a control plane alone. `switches` are the fields of `Kind`. Raises
        DevclusterError; what was started is then taken down again.
        """
        return cls(bringup.up(name, nodes, images, Kind(**switches), progress))

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Cluster:
        """Return the running cluster called `name`. Raises DevclusterError when it does not run."""
        return cls(state.load(name))

    def down(self) -> None:
        """End the cluster; nothing of it is left on the machine."""
        bringup.down(self.name)

    def __enter__(self) -> Cluster:
        """Nothing more to do: it is up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the cluster down, also after an error."""
        self.down()

    # What it is

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._state.name

    @property
    def folder(self) -> Path:
        """The folder of everything of this cluster, with its logs under `logs`."""
        return self._state.folder

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for programs of this machine."""
        return self._state.kubeconfig

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes, switched off ones included."""
        return sorted(self._state.nodes, key=self._state.index)

    def node_ip(self, node: str) -> str:
        """Return the address of a node."""
        self._state.index(node)
        return self._state.address(node)

    def node_pid(self, node: str) -> int:
        """Return the id of the process that holds a node's namespaces. Raises DevclusterError when off."""
        self._state.index(node)
        holder = self._state.pids.get(node)
        if holder is None or not holder.alive():
            raise DevclusterError(
                f"The node {node} is switched off.", hint=f"`quilt-devcluster start-node {node}`"
            )
        return holder.pid

    def node_netns(self, node: str) -> Path:
        """Return the file of a node's network namespace, good for setns until the node is switched off."""
        return Path(f"/proc/{self.node_pid(node)}/ns/net")

    def node_path(self, node: str, path: str) -> Path:
        """Return where the file `path` of a node is seen from outside, for example its /run/quilt."""
        return Path(f"/proc/{self.node_pid(node)}/root/{path.lstrip('/')}")

    def ready_nodes(self) -> dict[str, bool]:
        """Return the registered Nodes by name, with whether each is Ready."""
        return controlplane.api(self._state).nodes()

    def programs(self) -> list[dict[str, object]]:
        """Return the supervised programs: name, pid, restarts, running, age in seconds, log."""
        listed: list[dict[str, object]] = control.request(self._state.socket, op="list")["programs"]
        return listed

    # Running things

    def exec_argv(self, node: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` in all namespaces of a node."""
        self.node_pid(node)
        folder = str(Path.cwd())
        return enter.inside(self._state.pids[node], argv, folder="/" if folder.startswith("/run") else folder)

    def exec(
        self,
        node: str,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a node and return its result; with `check` a failure raises DevclusterError."""
        command = self.exec_argv(node, argv)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise DevclusterError(
                f"{' '.join(argv)} on {node} did not end within {timeout:.0f} s."
            ) from error
        if check and done.returncode != 0:
            raise DevclusterError(
                f"{' '.join(argv)} on {node} failed with exit code {done.returncode}.",
                output=done.stdout + done.stderr,
            )
        return done

    def kubectl(self, *argv: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl as administrator and return its output. Raises DevclusterError when it fails."""
        return run([program("kubectl"), *argv], stdin=stdin, env=self.environment(), timeout=timeout)

    def helm(self, *argv: str, stdin: str | None = None, timeout: float = 180.0) -> str:
        """Run helm as administrator and return its output. Raises DevclusterError when it fails."""
        return run([program("helm"), *argv], stdin=stdin, env=self.environment(), timeout=timeout)

    def environment(self) -> dict[str, str]:
        """Return the variables with which kubectl and helm use this cluster and keep no files elsewhere."""
        helm = str(self.folder / "helm")
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            "HELM_CACHE_HOME": helm,
            "HELM_CONFIG_HOME": helm,
            "HELM_DATA_HOME": helm,
        }

    def load_images(self, *archives: Path) -> None:
        """Load image archives on every node that is on."""
        running = [node for node in self.nodes if node in self._state.pids]
        with ThreadPoolExecutor(max_workers=3) as pool:
            list(pool.map(lambda node: nodes.load_images(self._state, node, archives), running))

    def start_registry(self) -> str:
        """Start a registry and return its name (`127.0.0.1:<port>`), here and on the nodes that are on."""
        return registry.start(self._state)

    # Nodes that come and go

    def add_node(self, images: Sequence[Path] | None = None) -> str:
        """Add a node, loaded like the others, and return its name once it is registered."""
        index = max(self._state.nodes.values(), default=0) + 1
        name = plan.node_name(index)
        bringup.add_nodes(self._state, [index], bringup.Images.find(images, _silent), _silent)
        nodes.wait_registered(self._state, [name])
        return name

    def remove_node(self, node: str) -> None:
        """Cut a node's power and delete it with its disk and its Node object."""
        nodes.power_off(self._state, node)
        nodes.forget(self._state, node)

    def kill_node(self, node: str) -> None:
        """Cut a node's power: programs, pods, mounts and network are gone at once, the disk stays."""
        nodes.power_off(self._state, node)

    def start_node(self, node: str) -> None:
        """Start a node again after `kill_node`, as if it booted; on return its programs run."""
        self._state.index(node)
        if node in self._state.pids:
            raise DevclusterError(f"The node {node} is on already.")
        bringup.boot(self._state, node)

    def stop_kubelet(self, node: str) -> None:
        """Kill a node's kubelet and leave it off; its pods run on."""
        nodes.stop_program(self._state, node, "kubelet")

    def start_kubelet(self, node: str) -> None:
        """Start a node's kubelet again."""
        nodes.start_kubelet(self._state, node)

    # Failures of programs

    def signal_program(self, name: str, number: int) -> None:
        """Send a signal to a program, `etcd` or `node-1.kubelet`; one that dies is started again."""
        controlplane.signal_program(self._state, name, number)

    def pause_program(self, name: str) -> None:
        """Stop a program in its tracks (it hangs, connections stay open) until `resume_program`."""
        self.signal_program(name, signal.SIGSTOP)

    def resume_program(self, name: str) -> None:
        """Let a paused program go on."""
        self.signal_program(name, signal.SIGCONT)

    @property
    def apiservers(self) -> dict[str, str]:
        """The machine (a node, where there are nodes) of each API server → its program's name."""
        return {server: controlplane.apiserver(self._state, server) for server in self._state.servers}

    def pause_apiserver(self) -> None:
        """Make all API servers hang until `resume_apiserver`."""
        for name in self.apiservers.values():
            self.pause_program(name)

    def resume_apiserver(self) -> None:
        """Let the API servers go on."""
        for name in self.apiservers.values():
            self.resume_program(name)

    def kill_apiserver(self) -> None:
        """Kill all API servers (SIGKILL); they are started again at once, see `wait_api`."""
        for name in self.apiservers.values():
            self.signal_program(name, signal.SIGKILL)

    def stop_apiserver(self) -> None:
        """Kill all API servers and leave them off until `start_apiserver`."""
        for server in self.apiservers:
            controlplane.stop_apiserver(self._state, server)

    def start_apiserver(self) -> None:
        """Start the API servers after `stop_apiserver`."""
        for server in self.apiservers:
            controlplane.start_apiserver(self._state, server)

    def restart_apiserver(self) -> None:
        """Kill all API servers and return when their successors are ready."""
        before = self._restarts()
        self.kill_apiserver()
        while any(count == before[name] for name, count in self._restarts().items()):
            time.sleep(0.05)
        self.wait_api()

    def cut_off_apiserver(self, server: str) -> None:
        """End one API server as if its machine had lost power: no FIN, no RST, until `restore_apiserver`."""
        controlplane.cut_off(self._state, server)

    def restore_apiserver(self, server: str) -> None:
        """Start one API server again after `cut_off_apiserver`; it is ready after `wait_api`."""
        controlplane.restore(self._state, server)

    def save_etcd(self) -> None:
        """Keep a copy of what the cluster's etcd has, for `restore_etcd`."""
        controlplane.save_etcd(self._state)

    def restore_etcd(self) -> None:
        """Bring etcd back to what it was at `save_etcd`; all of Kubernetes' own is started again."""
        controlplane.restore_etcd(self._state)
        for node in self.nodes:
            nodes.start_kubelet(self._state, node)

    def wait_api(self, timeout: float = 120.0) -> None:
        """Wait until all API servers are ready. Raises DevclusterError after `timeout` seconds."""
        controlplane.wait_ready(self._state, timeout)

    def _restarts(self) -> dict[str, object]:
        names = self.apiservers.values()
        return {str(item["name"]): item["restarts"] for item in self.programs() if item["name"] in names}

"""A node's programs: containerd, kubelet and kube-proxy, with images and credentials of the node's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from quilt_devcluster import cgroups, control, machines, plan, render
from quilt_devcluster.binaries import program
from quilt_devcluster.controlplane import (
    api,
    start_apiserver,
    start_program,
    stop_apiserver,
    write_kubeconfig,
)
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run
from quilt_devcluster.state import State

PROGRAMS = ("kube-proxy", "kubelet", "containerd")
CONTAINERD_TIMEOUT = 60.0
REGISTER_TIMEOUT = 120.0


def program_name(node: str, name: str) -> str:
    """Return under which name the supervisor knows the program `name` of `node`."""
    return f"{node}.{name}"


def write_files(state: State, node: str) -> None:
    """Write the credentials and the configuration of a new node."""
    from quilt_devcluster.pki import Authority

    authority = Authority.load(state.pki, "ca")
    user = f"system:node:{node}"
    authority.sign(user, names=(node, state.address(node)), server=True).write(state.pki, node)
    server = plan.server_of(state.servers, node, state.index(node))
    write_kubeconfig(state, node, server, user, authority.sign(user, groups=("system:nodes",)))
    user = "system:kube-proxy"
    write_kubeconfig(state, f"{node}.kube-proxy", server, user, authority.sign(user))
    folder = config_folder(state, node)
    folder.mkdir(parents=True, exist_ok=True)
    kubelet = render.kubelet_config(
        state.pki,
        node,
        max_pods=state.kind.max_pods,
        cgroup_v1=cgroups.is_version_1(),
        control_plane=node == state.servers[0],
    )
    (folder / "kubelet.json").write_text(render.as_json(kubelet))
    (folder / "kube-proxy.json").write_text(
        render.as_json(render.kube_proxy_config(state.addresses, state.pki, node, state.kind))
    )
    (folder / "containerd.toml").write_text(render.containerd_config(program("runc")))


def config_folder(state: State, node: str) -> Path:
    """Return where a node's configuration files are."""
    return state.node_folder(node) / "config"


def power_on(state: State, node: str) -> None:
    """Start a node's machine and its container runtime."""
    # The machine of the first server is up since the control plane began.
    if node != state.servers[0]:
        machines.set_up_node(state, node)
    if node in state.servers[1:]:
        start_apiserver(state, node)
    start_containerd(state, node)


def start_containerd(state: State, node: str) -> None:
    """Start a node's container runtime; on return it answers."""
    config = config_folder(state, node) / "containerd.toml"
    name = program_name(node, "containerd")
    start_program(state, node, name, [str(program("containerd")), "--config", str(config)])
    # The node's own /run, as seen from outside.
    address = f"/proc/{state.pids[node].pid}/root/run/containerd/containerd.sock"
    deadline = time.monotonic() + CONTAINERD_TIMEOUT
    while not _answers(address):
        if time.monotonic() > deadline:
            raise DevclusterError(f"containerd of {node} did not start.", log=state.log(name))
        time.sleep(0.05)


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(address) == 0


def store_folder(state: State, node: str) -> Path:
    """Return the folder of a node's image store."""
    return state.node_folder(node) / "containerd"


def load_images(state: State, node: str, archives: Sequence[Path]) -> None:
    """Import image archives into a node's store; images of the same name are replaced."""
    for archive in archives:
        argv = [
            str(program("ctr")),
            "--namespace",
            "k8s.io",
            "images",
            "import",
            str(archive.absolute()),
        ]
        machines.in_machine(state, node, argv, what=f"Loading {archive.name} into {node}")


def start_agents(state: State, node: str) -> None:
    """Start the kubelet and kube-proxy of a node whose container runtime runs."""
    start_kubelet(state, node)
    name = program_name(node, "kube-proxy")
    proxy = [str(program("kube-proxy")), f"--config={config_folder(state, node) / 'kube-proxy.json'}"]
    start_program(state, node, name, proxy)


def start_kubelet(state: State, node: str) -> None:
    """Start a node's kubelet."""
    addresses = state.addresses.of_machine(state.address(node))
    argv = [
        str(program("kubelet")),
        f"--config={config_folder(state, node) / 'kubelet.json'}",
        f"--kubeconfig={state.pki}/{node}.kubeconfig",
        f"--hostname-override={node}",
        f"--node-ip={','.join(address.partition('/')[0] for address in addresses)}",
    ]
    start_program(state, node, program_name(node, "kubelet"), argv)


def stop_program(state: State, node: str, name: str) -> None:
    """Kill one program of a node and leave it off."""
    control.request(state.socket, op="stop", name=program_name(node, name))


def power_off(state: State, node: str) -> None:
    """Cut a node's power: nothing of it runs afterwards, its disk stays."""
    state.index(node)
    if node == state.servers[0]:
        raise DevclusterError(
            f"The node {node} holds etcd, in memory: without power the cluster is gone for good.",
            hint="choose another node; for an outage of the API, stop or pause the API server",
        )
    # First stopped by the supervisor, which would start the programs again.
    for name in PROGRAMS:
        stop_program(state, node, name)
    if node in state.servers:
        stop_apiserver(state, node)
    machines.switch_off(state, node)
    state.pids.pop(node, None)
    state.save()
    cgroups.remove(cgroups.node_group(state.name, node))


def forget(state: State, node: str) -> None:
    """Delete a node that is off: its disk, its credentials and its Node object."""
    if node in state.servers:
        raise DevclusterError(f"The node {node} has an API server.", hint="choose another node to remove")
    run(["rm", "-rf", "--one-file-system", state.node_folder(node)], what=f"Deleting the disk of {node}")
    for suffix in ("crt", "key", "kubeconfig", "kube-proxy.kubeconfig"):
        (state.pki / f"{node}.{suffix}").unlink(missing_ok=True)
    state.nodes.pop(node)
    state.save()
    api(state).delete_node(node)


def wait_registered(state: State, names: Sequence[str]) -> None:
    """Wait until the kubelets of `names` have registered their Nodes; Ready needs a pod network."""
    client = api(state)
    deadline = time.monotonic() + REGISTER_TIMEOUT
    while missing := sorted(set(names) - set(client.nodes())):
        if time.monotonic() > deadline:
            raise DevclusterError(
                f"Not registered within {REGISTER_TIMEOUT:.0f} s: {', '.join(missing)}.",
                log=state.log(program_name(missing[0], "kubelet")),
            )
        time.sleep(0.1)

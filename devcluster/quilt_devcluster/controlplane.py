"""The control plane of a cluster: its certificates and its programs.

As kubeadm makes it, it is on the first node: in that node's network, with the node's own address. The second
node has another API server. Only a control plane without nodes has a machine of its own.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from quilt_devcluster import cgroups, control, machines, manifests, plan, render
from quilt_devcluster.binaries import program
from quilt_devcluster.enter import NODE_PATH, inside
from quilt_devcluster.kube import KubeApi
from quilt_devcluster.state import State

if TYPE_CHECKING:
    from quilt_devcluster.pki import Identity

APISERVER = "kube-apiserver"
START_TIMEOUT = 120.0
# As if the machine of an API server had lost its power: nobody hears from it, not even that it ended.
_CUT = f"""table inet devcluster_cut {{
  chain requests {{ type filter hook input priority -300; tcp dport {plan.API_PORT} drop; }}
  chain answers {{ type filter hook output priority -300; tcp sport {plan.API_PORT} drop; }}
}}
"""
# Kubeconfig name → (user, groups): the identities of Kubernetes' own default roles.
_CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
}


def api(state: State, number: int = 0) -> KubeApi:
    """Return a client of the cluster's API server `number` with the administrator's rights."""
    return KubeApi(state.ports[number], state.pki)


def apiserver(state: State, server: str) -> str:
    """Return under which name the supervisor knows the API server of the machine `server`."""
    number = state.servers.index(server)
    return f"{APISERVER}-{number + 1}" if number else APISERVER


def write_credentials(state: State) -> None:
    """Make the authority, the control plane's certificates and its clients' kubeconfigs."""
    from quilt_devcluster.pki import Authority, signing_key

    authority = Authority.create("quilt-devcluster")
    authority.identity.write(state.pki, "ca")
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    names = (
        *service,
        f"{service[-1]}.{plan.CLUSTER_DOMAIN}",
        plan.CONTROL_PLANE,
        "localhost",
        "127.0.0.1",
        plan.SERVICE_API,
        *(state.address(server) for server in state.servers),
    )
    authority.sign("kube-apiserver", names=names, server=True).write(state.pki, "apiserver")
    authority.sign("quilt:apiserver-kubelet").write(state.pki, "apiserver-kubelet")
    authority.sign("etcd", names=(state.address(state.servers[0]),), server=True).write(state.pki, "etcd")
    authority.sign("quilt:apiserver-etcd").write(state.pki, "apiserver-etcd")
    authority.sign("quilt:admin", groups=("system:masters",)).write(state.pki, "admin")
    private, public = signing_key()
    (state.pki / "service-accounts.key").write_text(private)
    (state.pki / "service-accounts.pub").write_text(public)
    for name, (user, groups) in _CLIENTS.items():
        write_kubeconfig(state, name, state.servers[0], user, authority.sign(user, groups=groups))


def write_kubeconfig(state: State, name: str, server: str, user: str, identity: Identity) -> None:
    """Write the kubeconfig `name` of a program of the cluster that talks to the API server on `server`."""
    from quilt_devcluster.pki import kubeconfig

    authority = (state.pki / "ca.crt").read_text()
    text = kubeconfig(plan.api_url(state.address(server)), authority, user, identity)
    (state.pki / f"{name}.kubeconfig").write_text(text)


def write_admin_kubeconfig(state: State) -> None:
    """Write the kubeconfig for programs of this machine, once the loopback port is known."""
    from quilt_devcluster.pki import Authority, kubeconfig

    authority = Authority.load(state.pki, "ca")
    admin = authority.sign("quilt:admin", groups=("system:masters",))
    text = kubeconfig(f"https://127.0.0.1:{state.port}", authority.identity.certificate, "quilt:admin", admin)
    state.kubeconfig.touch(mode=0o600)
    state.kubeconfig.write_text(text)


def mark(folder: Path) -> str:
    """Return the argument by which `down` knows the programs of the cluster in `folder`."""
    return f"QUILT_DEVCLUSTER_FOLDER={folder}"


def start_program(state: State, role: str, name: str, argv: list[str]) -> None:
    """Run a program in the machine `role`, supervised under `name`."""
    path = f"PATH={program('containerd').parent}:{program('runc').parent}:{NODE_PATH}"
    # The control plane has no group of its own: nothing in it counts on one.
    join = ["sh", "-c", cgroups.join_script(), "sh"] if role in state.nodes else []
    command = inside(state.pids[role], [mark(state.folder), path, *join, *argv])
    control.start_program(state.socket, name, command, state.log(name))


def start_etcd(state: State) -> None:
    """Start etcd on the first server."""
    first, *others = state.servers
    arguments = render.etcd_args(state.etcd, state.pki, state.address(first) if others else "")
    start_program(state, first, "etcd", [str(program("etcd")), *arguments])


def start_apiserver(state: State, server: str) -> None:
    """Start the API server of a machine; it is ready seconds later, see `KubeApi.wait_ready`."""
    etcd = state.address(state.servers[0]) if server != state.servers[0] else ""
    arguments = render.apiserver_args(state.addresses, state.pki, state.address(server), etcd)
    start_program(state, server, apiserver(state, server), [str(program(APISERVER)), *arguments])


def stop_apiserver(state: State, server: str) -> None:
    """Kill the API server of a machine and leave it off."""
    control.request(state.socket, op="stop", name=apiserver(state, server))


def wait_ready(state: State, timeout: float = START_TIMEOUT) -> None:
    """Wait until every API server serves. Raises DevclusterError after `timeout` seconds."""
    for number, server in enumerate(state.servers):
        api(state, number).wait_ready(timeout, state.log(apiserver(state, server)))


def cut_off(state: State, server: str) -> None:
    """End the API server of a machine so that nobody hears of it: its connections just fall silent."""
    machines.in_machine(state, server, ["nft", "-f", "-"], stdin=_CUT)
    stop_apiserver(state, server)


def restore(state: State, server: str) -> None:
    """Start the API server of a machine again after `cut_off`."""
    machines.in_machine(state, server, ["nft", "delete", "table", "inet", "devcluster_cut"])
    start_apiserver(state, server)


def save_etcd(state: State) -> None:
    """Copy etcd's files while it is paused: it will recover from them as from a crash."""
    signal_program(state, "etcd", signal.SIGSTOP)
    try:
        _copy(state, state.etcd, state.etcd_copy)
    finally:
        signal_program(state, "etcd", signal.SIGCONT)


def restore_etcd(state: State) -> None:
    """Bring back what `save_etcd` copied; API servers and controllers start again, as Kubernetes wants."""
    for server in state.servers:
        stop_apiserver(state, server)
    control.request(state.socket, op="stop", name="etcd")
    _copy(state, state.etcd_copy, state.etcd)
    start_etcd(state)
    for server in state.servers:
        start_apiserver(state, server)
    for name in _CLIENTS:
        signal_program(state, f"kube-{name}", signal.SIGKILL)
    wait_ready(state)


def signal_program(state: State, name: str, number: int) -> None:
    """Send a signal to a supervised program; one that dies is started again."""
    control.request(state.socket, op="signal", name=name, signal=int(number))


def _copy(state: State, source: Path, target: Path) -> None:
    lines = [f"mkdir -p {target}", f"find {target} -mindepth 1 -delete", f"cp -a {source}/. {target}"]
    machines.in_machine(state, state.servers[0], ["sh", "-euc", "\n".join(lines)])


def start_rest(state: State) -> None:
    """Wait for the API server, create the base objects, start the controller-manager and the scheduler."""
    client = api(state)
    client.wait_ready(START_TIMEOUT, state.log(APISERVER))
    for name, arguments in (
        ("kube-controller-manager", render.controller_manager_args(state.addresses, state.pki, state.kind)),
        ("kube-scheduler", render.scheduler_args(state.pki)),
    ):
        start_program(state, state.servers[0], name, [str(program(name)), *arguments])
    client.create(manifests.base_objects())

"""The control plane of a cluster: its certificates, and its four programs.

As kubeadm makes it, it is on the first node: in that node's network, with the node's own address. Only a
control plane without nodes has a machine of its own.
"""

from __future__ import annotations

from pathlib import Path

from quilt_devcluster import cgroups, control, manifests, plan, render
from quilt_devcluster.binaries import program
from quilt_devcluster.enter import NODE_PATH, inside
from quilt_devcluster.kube import KubeApi
from quilt_devcluster.pki import Authority, Identity, kubeconfig, signing_key
from quilt_devcluster.state import State

APISERVER = "kube-apiserver"
START_TIMEOUT = 120.0
# Kubeconfig name → (user, groups): the identities of Kubernetes' own default roles.
_CLIENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
}


def api(state: State) -> KubeApi:
    """Return a client of the cluster's API server with the administrator's rights."""
    return KubeApi(state.port, state.pki)


def write_credentials(state: State) -> None:
    """Make the authority, the control plane's certificates and its clients' kubeconfigs."""
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
    authority.sign("quilt:admin", groups=("system:masters",)).write(state.pki, "admin")
    private, public = signing_key()
    (state.pki / "service-accounts.key").write_text(private)
    (state.pki / "service-accounts.pub").write_text(public)
    for name, (user, groups) in _CLIENTS.items():
        write_kubeconfig(state, name, state.servers[0], user, authority.sign(user, groups=groups))


def write_kubeconfig(state: State, name: str, server: str, user: str, identity: Identity) -> None:
    """Write the kubeconfig `name` of a program of the cluster that talks to the API server on `server`."""
    authority = (state.pki / "ca.crt").read_text()
    text = kubeconfig(plan.api_url(state.address(server)), authority, user, identity)
    (state.pki / f"{name}.kubeconfig").write_text(text)


def write_admin_kubeconfig(state: State) -> None:
    """Write the kubeconfig for programs of this machine, once the loopback port is known."""
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
    etcd = [str(program("etcd")), *render.etcd_args(state.etcd)]
    start_program(state, state.servers[0], "etcd", etcd)


def start_apiserver(state: State) -> None:
    """Start the API server; it is ready a few seconds later, see `KubeApi.wait_ready`."""
    server = state.servers[0]
    arguments = render.apiserver_args(state.addresses, state.pki, state.address(server))
    start_program(state, server, APISERVER, [str(program(APISERVER)), *arguments])


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

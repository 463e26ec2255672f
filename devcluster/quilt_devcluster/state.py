"""What is remembered of a cluster on disk, and how one cluster at a time is claimed and found again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from quilt_devcluster import paths, plan
from quilt_devcluster.binaries import locked
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind
from quilt_devcluster.procs import Pid


@dataclass(slots=True)
class State:
    """One cluster's facts, kept in `<folder>/cluster.json`. `nodes` maps a node's name to its number.

    `servers` are the machines with an API server; the first of them has etcd and the controllers too.
    """

    name: str
    slot: int
    # On 127.0.0.1 of the machine, one for each of `servers`.
    ports: list[int]
    nodes: dict[str, int] = field(default_factory=dict)
    # Process ids with start times, by role: "supervisor", "switch", "control-plane" or a node's name.
    pids: dict[str, Pid] = field(default_factory=dict)
    kind: Kind = field(default_factory=Kind)
    servers: list[str] = field(default_factory=lambda: [plan.CONTROL_PLANE])

    @property
    def folder(self) -> Path:
        """Everything of this cluster lies below here."""
        return paths.clusters_dir() / self.name

    @property
    def port(self) -> int:
        """The loopback port that leads to the first API server."""
        return self.ports[0]

    @property
    def addresses(self) -> plan.Addresses:
        """The addresses that follow from the slot."""
        return plan.Addresses(self.slot, self.kind.dual_stack)

    @property
    def pki(self) -> Path:
        """Certificates, keys and kubeconfigs."""
        return self.folder / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig for programs of this machine."""
        return self.folder / "kubeconfig"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket."""
        return self.folder / "supervisor.sock"

    def log(self, process: str) -> Path:
        """The log file of one supervised process."""
        return self.folder / "logs" / f"{process}.log"

    @property
    def etcd(self) -> Path:
        """Where the control plane has etcd's data, in its own view of the files."""
        return self.folder / "etcd"

    @property
    def etcd_copy(self) -> Path:
        """Where a copy of it is, which `restore_etcd` brings back."""
        return self.folder / "etcd-copy"

    def node_folder(self, node: str) -> Path:
        """What a node has on its disk."""
        return self.folder / "nodes" / node

    def index(self, node: str) -> int:
        """Return the number of `node`. Raises DevclusterError with the nodes there are when it is unknown."""
        if node not in self.nodes:
            known = ", ".join(self.nodes) or "none"
            raise DevclusterError(
                f"The cluster {self.name!r} has no node {node!r}.", hint=f"its nodes: {known}"
            )
        return self.nodes[node]

    def address(self, role: str) -> str:
        """Return the address of the control plane's own machine or of a node."""
        if role == plan.CONTROL_PLANE:
            return self.addresses.control_plane
        return self.addresses.node(self.index(role))

    def save(self) -> None:
        """Write the facts by rename, so that a crash leaves the old or the new ones."""
        part = self.folder / "cluster.json.part"
        part.write_text(json.dumps(asdict(self), indent=2))
        part.rename(self.folder / "cluster.json")


def load(name: str) -> State:
    """Return the cluster called `name`. Raises DevclusterError when it does not exist."""
    file = paths.clusters_dir() / plan.check_name(name) / "cluster.json"
    if not file.exists():
        others = ", ".join(names()) or "none"
        raise DevclusterError(
            f"There is no cluster {name!r}.", hint=f"`quilt-devcluster up --name {name}`; running: {others}"
        )
    raw = json.loads(file.read_text())
    pids = {role: Pid(**pid) for role, pid in raw.pop("pids").items()}
    raw_kind = raw.pop("kind")
    return State(**raw, pids=pids, kind=Kind(**raw_kind))


def names() -> list[str]:
    """Return the names of all clusters on this machine, also half-made ones, sorted."""
    folder = paths.clusters_dir()
    return sorted(item.parent.name for item in folder.glob("*/cluster.json")) if folder.is_dir() else []


def claim(name: str, count: int = 0, kind: Kind | None = None) -> State:
    """Reserve a slot and make the folder of a new cluster of `count` nodes.

    Raises DevclusterError when the name is in use.
    """
    plan.check_name(name)
    with locked(paths.clusters_dir() / ".lock"):
        existing = names()
        if name in existing:
            raise DevclusterError(
                f"The cluster {name!r} exists already.",
                hint=f"use it, or `quilt-devcluster down --name {name}` first, or choose another --name",
            )
        slot = plan.free_slot({load(other).slot for other in existing})
        state = State(name, slot, [], kind=kind or Kind())
        state.nodes = {plan.node_name(index): index for index in range(1, count + 1)}
        state.servers = plan.servers(list(state.nodes))
        state.ports = [state.addresses.loopback_port(number) for number in range(len(state.servers))]
        state.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.save()
        return state

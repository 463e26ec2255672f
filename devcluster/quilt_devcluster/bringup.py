"""Start a cluster in the right order, and take one down whatever state it is in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster import (
    cgroups,
    control,
    controlplane,
    limits,
    machines,
    nodes,
    paths,
    plan,
    procs,
    state,
)
from quilt_devcluster.binaries import locked
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.holder import HOLDER
from quilt_devcluster.images import current_product_archives, ensure_base_archives
from quilt_devcluster.kind import Kind
from quilt_devcluster.shell import run
from quilt_devcluster.state import State
from quilt_devcluster.stores import Store

Progress = Callable[[str], None]
# Starting nodes is bound by two cores: more at once is not faster.
PARALLEL = 3


def up(name: str, count: int, images: Sequence[Path] | None, kind: Kind, progress: Progress) -> State:
    """Start the cluster `name`; see `Cluster.up`."""
    check_machine()
    to_load = Images.find(images, progress)
    started = time.monotonic()

    def step(text: str) -> None:
        progress(f"[{time.monotonic() - started:5.1f} s] {text}")

    facts = state.claim(name, count, kind)
    try:
        with locked(paths.clusters_dir() / ".lock"):
            limits.raise_limits()
        _start(facts, to_load, step)
    except BaseException as error:
        if os.environ.get("QUILT_DEVCLUSTER_KEEP"):
            raise
        _keep_log(error)
        down(name)
        raise
    step(f"cluster {name!r} is up with {count} nodes")
    return facts


def _keep_log(error: BaseException) -> None:
    """Move the log that an error points to out of the folder that is about to be deleted."""
    if isinstance(error, DevclusterError) and error.log is not None and error.log.exists():
        kept = paths.cache_dir() / "log" / error.log.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(error.log, kept)
        error.log = kept


def _start(facts: State, to_load: Images, step: Callable[[str], None]) -> None:
    step(f"slot {facts.slot}, network {facts.addresses.network}")
    controlplane.write_credentials(facts)
    first = facts.servers[0]
    for role in (machines.SWITCH, first):
        machines.switch_on(facts, role)
    machines.set_up_switch(facts)
    if first in facts.nodes:
        machines.set_up_node(facts, first)
    else:
        machines.set_up_control_plane(facts)
    facts.pids["supervisor"] = control.start_supervisor(facts.folder, facts.log("supervisor"))
    _forward(facts)
    controlplane.write_admin_kubeconfig(facts)
    controlplane.start_etcd(facts)
    controlplane.start_apiserver(facts, first)
    step("etcd and the API server are starting; preparing the nodes")
    with ThreadPoolExecutor(max_workers=2) as pool:
        rest = pool.submit(controlplane.start_rest, facts)
        add_nodes(facts, list(facts.nodes.values()), to_load, step)
        step(f"{len(facts.nodes)} nodes are started")
        rest.result()
    nodes.wait_registered(facts, list(facts.nodes))
    controlplane.wait_ready(facts)
    if first in facts.nodes:
        # No kubelet may say this of itself: kubeadm does it as administrator.
        controlplane.api(facts).label_node(first, {plan.CONTROL_PLANE_LABEL: ""})


def _forward(facts: State) -> None:
    """Open the loopback ports of the machine that lead to the API servers."""
    for number, server in enumerate(facts.servers):
        # To the first within its own network, which never ends before the cluster.
        via = facts.pids[server if number == 0 else machines.SWITCH]
        answer = control.request(
            facts.socket,
            op="forward",
            netns=f"/proc/{via.pid}/ns/net",
            host=facts.address(server),
            port=plan.API_PORT,
            listen=facts.ports[number],
        )
        facts.ports[number] = answer["port"]
    facts.save()


@dataclass(frozen=True, slots=True)
class Images:
    """The archives that new nodes get: `base` always, `extra` for the product or as asked for."""

    base: list[Path]
    extra: list[Path]

    @classmethod
    def find(cls, extra: Sequence[Path] | None, progress: Progress) -> Images:
        """Return the base archives, made now if need be, and `extra` (None: the product's, as built last)."""
        base = ensure_base_archives(progress)
        return cls(base, current_product_archives() if extra is None else list(extra))

    def all(self) -> list[Path]:
        """Return all archives in the order of loading."""
        return [*self.base, *self.extra]


def add_nodes(facts: State, indexes: Sequence[int], to_load: Images, progress: Progress) -> None:
    """Make nodes with these numbers and start them, several at once."""
    names = [plan.node_name(index) for index in indexes]
    for name, index in zip(names, indexes, strict=True):
        facts.nodes[name] = index
        nodes.write_files(facts, name)
        if name not in facts.pids:
            machines.switch_on(facts, name)
    store = Store(to_load.all())
    with locked(store.lock):
        if names and not store.exists():
            _fill(facts, names.pop(0), to_load, store, progress)
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        list(pool.map(lambda name: _power_on_with(facts, name, store), names))
    for index in indexes:
        nodes.start_agents(facts, plan.node_name(index))


def _power_on_with(facts: State, node: str, store: Store) -> None:
    folder = nodes.store_folder(facts, node)
    folder.mkdir(parents=True, exist_ok=True)
    store.seed(folder)
    nodes.power_on(facts, node)


def _fill(facts: State, node: str, to_load: Images, store: Store, progress: Progress) -> None:
    """Start `node` with its images imported, and keep its store, also the part of the base images."""
    base = Store(to_load.base)
    with locked(base.lock) if base.lock != store.lock else nullcontext():
        if base.exists():
            _power_on_with(facts, node, base)
        else:
            progress("unpacking the base images (once)")
            nodes.power_on(facts, node)
            _load_and_keep(facts, node, to_load.base, base)
    if to_load.extra:
        progress("unpacking the product's images (once per build)")
        _load_and_keep(facts, node, to_load.extra, store)


def _load_and_keep(facts: State, node: str, archives: Sequence[Path], store: Store) -> None:
    nodes.load_images(facts, node, archives)
    nodes.stop_program(facts, node, "containerd")
    store.keep(nodes.store_folder(facts, node))
    nodes.start_containerd(facts, node)


def boot(facts: State, node: str) -> None:
    """Start a node that has a disk already."""
    machines.switch_on(facts, node)
    nodes.power_on(facts, node)
    nodes.start_agents(facts, node)


def check_machine() -> None:
    """Raise DevclusterError where a cluster cannot work, before anything is started."""
    if os.geteuid() != 0:
        raise DevclusterError(
            "A cluster needs root, for namespaces, mounts and control groups.", hint="use sudo"
        )
    folder = paths.clusters_dir()
    if folder.parts[:2] in {("/", part) for part in ("run", *machines.LAYERED)}:
        raise DevclusterError(
            f"Clusters cannot be kept in {folder}: nodes have layers of their own over /{folder.parts[1]}.",
            hint="set QUILT_DEVCLUSTER_STATE (or QUILT_CACHE) to a folder elsewhere",
        )


def down(name: str) -> bool:
    """End whatever there is of the cluster `name`, also after a crash; false when there was nothing."""
    folder = paths.clusters_dir() / plan.check_name(name)
    # Found by their command lines rather than by what was written down: a crash may have come before the
    # writing. The supervisor first, since it would start again what dies.
    supervisors = procs.find("quilt_devcluster.supervisor", str(folder))
    holders = procs.find(HOLDER, str(folder))
    entered = procs.find("nsenter", controlplane.mark(folder))
    if not folder.exists() and not supervisors and not holders and not entered:
        return False
    for process in (*supervisors, *entered):
        procs.end(process)
    for process in holders:
        machines.end_machine(process)
    cgroups.remove(cgroups.cluster_group(name))
    cgroups.remove_empty_top()
    run(["rm", "-rf", "--one-file-system", folder], what=f"Deleting {folder}")
    with locked(paths.clusters_dir() / ".lock"):
        if not state.names():
            limits.restore_limits()
    return True

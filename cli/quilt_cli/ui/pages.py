"""What the pages ask for: the board as it changes, and on demand nodes that are looked at from within."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from quilt_cli.api.read_latency import read_latency
from quilt_cli.api.read_node import check_node
from quilt_cli.api.read_nodes import NodePod, node_pod, read_dumps
from quilt_cli.core.board import Changes
from quilt_cli.core.finding import CannotTellError, Finding
from quilt_cli.core.heat import Heat, heat
from quilt_cli.core.latency import Report, report
from quilt_cli.core.node_page import NodePage, node_page
from quilt_cli.core.objects import SystemPod
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.ui.live import Live
from quilt_crds.names import PEERS_REACHABLE, POD
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_kube.channels import CommandError
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

# Nodes that are asked for what they measured: each is a process there and a connection here.
_ASKED = 256
# Seconds for which an answer serves others that ask the same.
_FRESH = 5.0


class ClusterPages:
    """The pages of a cluster (`server.Pages`)."""

    def __init__(self, client: Client, live: Live) -> None:
        self._client = client
        self._live = live
        self._asking = Lock()
        self._measured: dict[str, tuple[float, Report]] = {}

    def changes(self, since: int, seconds: float) -> Changes | None:
        """Wait for something newer than that version; None where nothing comes within these seconds."""
        return self._live.changes(since, seconds)

    def latency(self, matching: str) -> Heat:
        """Return what the probes of nodes with this in their names measured, the worst of many."""
        with self._asking:
            now = time.monotonic()
            held = {key: kept for key, kept in self._measured.items() if now - kept[0] < _FRESH}
            if matching not in held:
                among = to_ask(self._live.snapshot(), matching)
                held[matching] = (time.monotonic(), report(*read_latency(self._client, among)))
            self._measured = held
            return heat(held[matching][1], matching)

    def node(self, name: str) -> NodePage:
        """Return a node, its kernel looked at now."""
        snapshot, blind = self._live.snapshot(), dict[str, str]()
        pod = self._pod(snapshot.pod_of.get(name))
        if pod is None or not pod.container:
            why = f"no container of pod {pod.name} runs" if pod else "no quilt-mesh pod is on it"
            found = node_page(name, snapshot, (), None, {"kernel": why})
        else:
            # Both at once: a node that is dead answers neither, each after its time.
            with ThreadPoolExecutor(2) as pool:
                checks = pool.submit(self._checks, pod, snapshot.spec, blind)
                dumps, silent = pool.submit(read_dumps, self._client, [pod]).result()
            if name in silent:
                blind["entries of peers"] = silent[name]
            found = node_page(name, snapshot, checks.result(), dumps.get(name), blind)
        if found is None:
            raise CannotTellError(f"the mesh has no node {name}")
        return found

    def _pod(self, known: SystemPod | None) -> NodePod | None:
        """Return how a pod is asked, by what it is now."""
        if known is None:
            return None
        raw = self._client.find(POD.path(known.name, namespace=known.namespace))
        return node_pod(raw) if raw else None

    def _checks(self, pod: NodePod, spec: QuiltNetworkSpec, blind: dict[str, str]) -> Sequence[Finding]:
        """Return what is found on a node; or nothing, and in `blind` why."""
        try:
            return check_node(self._client, pod, spec)
        except (ApiError, UnreachableError, CommandError) as error:
            blind["checks"] = str(error)
            return ()


def to_ask(snapshot: Snapshot, matching: str) -> set[str]:
    """Return the nodes to ask, of those with this in their names: first those that report failing paths."""
    named = [item for item in snapshot.mesh_nodes if matching in item.name]
    named.sort(key=lambda item: not item.has(PEERS_REACHABLE, "False"))
    return {item.name for item in named[:_ASKED]}

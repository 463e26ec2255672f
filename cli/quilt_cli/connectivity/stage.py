"""A namespace for one test: pods are made in it, their output is read from their logs, and all is deleted.

Nothing is executed inside running pods and no stream to them is needed: creating pods, listing them and
reading their logs is enough.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from quilt_cli.api.read import workloads
from quilt_cli.connectivity import manifests
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.matrix import Answer, Server, Source, Target
from quilt_cli.core.objects import system_pod
from quilt_crds.names import DAEMONSET, NODE, NODE_DAEMONSET, READY
from quilt_crds.wire import Node
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError, Json
from quilt_kube.sync import Client

Progress = Callable[[str], None]
_EVERY = 0.5
_AT_ONCE = 8
_ENDED = ("Succeeded", "Failed")


@dataclass
class Stage:
    """One test's namespace; `silent` collects, by `node NAME`, why something gave no answer."""

    client: Client
    name: str
    timeout: float
    progress: Progress
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """URL path of the namespace."""
        return f"/api/v1/namespaces/{self.name}"

    def answering(self) -> list[str]:
        """Linux nodes whose kubelet answers: a pod on another would be waited for in vain."""
        names = []
        for raw in self.client.items(NODE.path()):
            node = convert(raw, Node)
            ready = node.condition(READY)
            if ready is not None and ready.status == "Unknown":
                self.silent[f"node {node.name}"] = f"its kubelet does not answer: {ready.text}"
            elif node.linux:
                names.append(node.name)
        return names

    def start(self, pod: Json) -> Server:
        """Start one server and wait for it, at most for the time given. Raises CannotTellError."""
        path, trouble = f"{self.path}/pods", ""
        self.client.create(path, pod)
        for _ in self._tries():
            found = self.client.get(f"{path}/{pod['metadata']['name']}")
            state = system_pod(found)
            if state.ready and found["status"].get("podIP"):
                return _server(found)
            trouble = state.trouble
        where = pod["spec"]["nodeName"]
        raise CannotTellError(
            f"no test server came to run on node {where} in {self.timeout:.0f} s: {trouble}"
        )

    def serve(self, daemonset: Json) -> list[Server]:
        """Start servers and wait for them, at most for the time given; who does not come is silent."""
        daemonsets = DAEMONSET.path(namespace=self.name)
        self.client.create(daemonsets, daemonset)
        self._wait_for_servers(f"{daemonsets}/{daemonset['metadata']['name']}")
        ready = []
        for pod in self.client.items(f"{self.path}/pods", manifests.selector(manifests.SERVER)):
            state = system_pod(pod)
            if state.ready and pod["status"].get("podIP"):
                ready.append(_server(pod))
            else:
                why = state.trouble or pod["status"].get("phase", "Pending")
                self.silent[f"node {state.node or '?'}"] = f"its test server does not run: {why}"
        if not ready:
            whys = "; ".join(f"{what}: {why}" for what, why in self.silent.items())
            raise CannotTellError(f"no test pod came to run within {self.timeout:.0f} s. {whys}")
        return sorted(ready, key=lambda server: server.node)

    def outputs(self, pods: Sequence[Json]) -> Mapping[str, Any]:
        """Run pods to their end; by name, the JSON of each one's last line, without those that gave none."""
        names = [pod["metadata"]["name"] for pod in pods]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda pod: self.client.create(f"{self.path}/pods", pod), pods))
            ended = self._ended(set(names))
            found = zip(names, pool.map(lambda name: self._output(name, ended), names), strict=True)
        return {name: output for name, output in found if output is not None}

    def ask(self, image: str, wanted: Mapping[Source, Sequence[Target]]) -> dict[Source, tuple[Answer, ...]]:
        """Let a pod ask for each source what is wanted; the answers of those that gave any."""
        # Names of nodes are too long to be part of a pod's.
        names = {source: f"{'host' if source.host else 'pod'}-{index}" for index, source in enumerate(wanted)}
        pods = [manifests.asker(names[source], source, image, asked) for source, asked in wanted.items()]
        outputs = self.outputs(pods)
        return {
            source: msgspec.convert(outputs[name], tuple[Answer, ...])
            for source, name in names.items()
            if name in outputs
        }

    def wait_for_account(self) -> None:
        """Pods are refused until the namespace has its default service account."""
        path = f"{self.path}/serviceaccounts/default"
        if not any(self.client.find(path) for _ in self._tries()):
            raise CannotTellError(
                f"namespace {self.name} got no service account: does kube-controller-manager run?"
            )

    def wait_until_gone(self) -> None:
        """Wait until the deleted namespace is gone, or the time is over."""
        for _ in self._tries():
            with suppress(ApiError):
                if self.client.find(self.path) is None:
                    return

    def _wait_for_servers(self, path: str) -> None:
        shown = ""
        for _ in self._tries():
            status = self.client.get(path).get("status") or {}
            wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
            if (line := f"{ready} of {wanted} servers run") != shown:
                shown = line
                self.progress(line)
            if 0 < wanted <= ready:
                return

    def _ended(self, names: set[str]) -> dict[str, Json]:
        """The pods by name once all have ended, or as they are when the time is over."""
        pods: dict[str, Json] = {}
        for _ in self._tries():
            found = self.client.items(f"{self.path}/pods", manifests.selector(manifests.ASKER))
            pods |= {pod["metadata"]["name"]: pod for pod in found}
            if all(pods.get(name, {}).get("status", {}).get("phase") in _ENDED for name in names):
                break
        return pods

    def _output(self, name: str, pods: Mapping[str, Json]) -> Any:
        state = system_pod(pods[name]) if name in pods else None
        last = ""
        try:
            log = self.client.text(f"{self.path}/pods/{name}/log").strip()
            last = log.splitlines()[-1] if log else "an empty log"
            return json.loads(last)
        except (ApiError, ValueError) as error:
            reasons = (state.trouble if state else "", last or str(error))
            where = f"node {state.node}" if state else name
            self.silent[where] = f"its test pod {name} gave no answer: {'; '.join(filter(None, reasons))}"
            return None

    def _tries(self) -> Iterator[None]:
        """One after the other, until the time is over."""
        deadline = time.monotonic() + self.timeout
        yield
        while time.monotonic() <= deadline:
            time.sleep(_EVERY)
            yield


@contextmanager
def stage(client: Client, progress: Progress, *, timeout: float, keep: bool) -> Iterator[Stage]:
    """A namespace of a fresh name, removed again, also when interrupted."""
    made = Stage(client, f"quilt-connectivity-{secrets.token_hex(3)}", timeout, progress)
    client.create("/api/v1/namespaces", manifests.namespace(made.name))
    try:
        made.wait_for_account()
        yield made
    finally:
        if keep:
            progress(f"kept: namespace {made.name}")
        else:
            progress(f"removing namespace {made.name}")
            client.delete(made.path)
            # What comes next may look at ports that the pods still hold.
            made.wait_until_gone()


def _server(pod: Json) -> Server:
    status = pod["status"]
    addresses = [item["ip"] for item in status.get("podIPs") or ()] or [status["podIP"]]
    return Server(pod["spec"]["nodeName"], tuple(addresses), str(status.get("hostIP") or ""))


def node_image(client: Client) -> str:
    """The image that every node of the mesh has; raises CannotTellError without one."""
    for found in workloads(client, DAEMONSET, NODE_DAEMONSET):
        return found.image
    raise CannotTellError(f"there is no DaemonSet {NODE_DAEMONSET} whose image could be used; pass --image")

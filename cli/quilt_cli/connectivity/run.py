"""A connectivity test from its namespace to its removal.

Servers first; once they run and have addresses, a pod per node asks all of them and prints what it found,
read through the log: nothing is executed inside running pods, and no stream to them is needed.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from quilt_cli.api.client import ApiClient, ApiError, Json
from quilt_cli.connectivity import manifests
from quilt_cli.core.matrix import Answer, Matrix, Server, Services, Source, answers, targets
from quilt_cli.core.objects import system_pod

Progress = Callable[[str], None]
_EVERY = 0.5
_ENDED = ("Succeeded", "Failed")


class ProbeError(Exception):
    """The test could not be run; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to test: which image, from hosts too or not, and how long to wait (seconds) for pods."""

    image: str
    hosts: bool = True
    timeout: float = 120.0
    keep: bool = False


def run(client: ApiClient, settings: Settings, progress: Progress) -> Matrix:
    """Run a whole test and remove it again, also when interrupted. Raises ProbeError, ApiError."""
    name = f"quilt-connectivity-{secrets.token_hex(3)}"
    client.create("/api/v1/namespaces", manifests.namespace(name))
    try:
        return _Test(client, name, settings, progress).run()
    finally:
        if settings.keep:
            progress(f"kept: namespace {name}")
        else:
            progress(f"removing namespace {name}")
            client.delete(f"/api/v1/namespaces/{name}")


class _Test:
    """The steps of one test; `_pods` is where its pods are."""

    def __init__(self, client: ApiClient, name: str, settings: Settings, progress: Progress) -> None:
        self._client, self._name, self._settings, self._progress = client, name, settings, progress
        self._pods = f"/api/v1/namespaces/{name}/pods"
        self._silent: dict[str, str] = {}

    def run(self) -> Matrix:
        services = self._start()
        found = self._servers()
        if not found:
            why = "; ".join(f"{what}: {reason}" for what, reason in self._silent.items())
            raise ProbeError(f"no test pod came to run within {self._settings.timeout:.0f} s. {why}")
        kinds = (False, True) if self._settings.hosts else (False,)
        sources = [Source(server.node, host) for host in kinds for server in found]
        return Matrix(tuple(found), self._ask(sources, found, services), self._silent)

    def _start(self) -> Services:
        self._wait_for_account()
        made = self._client.create(f"/api/v1/namespaces/{self._name}/services", manifests.service())
        self._client.create(
            f"/apis/apps/v1/namespaces/{self._name}/daemonsets", manifests.servers(self._settings.image)
        )
        dns = self._client.items("/api/v1/services", {"labelSelector": "k8s-app=kube-dns"})
        return Services(made["spec"].get("clusterIP", ""), f"probe.{self._name}.svc" if dns else "")

    def _wait_for_account(self) -> None:
        """Pods are refused until the namespace has its default service account."""
        path = f"/api/v1/namespaces/{self._name}/serviceaccounts/default"

        def there() -> bool:
            try:
                return bool(self._client.get(path))
            except ApiError as error:
                if error.status != 404:
                    raise
                return False

        if not self._poll(there, 30):
            raise ProbeError(
                f"namespace {self._name} got no service account: does kube-controller-manager run?"
            )

    def _servers(self) -> list[Server]:
        """Wait for the servers, at most for the time given; those that do not come are told as silent."""
        path = f"/apis/apps/v1/namespaces/{self._name}/daemonsets/server"
        shown = ""

        def complete() -> bool:
            nonlocal shown
            status = self._client.get(path).get("status") or {}
            wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
            if (line := f"{ready} of {wanted} servers run") != shown:
                shown = line
                self._progress(line)
            return bool(0 < wanted <= ready)

        self._poll(complete, self._settings.timeout)
        selector = {"labelSelector": "app=quilt-connectivity-server"}
        pods = self._client.items(self._pods, selector)
        ready = []
        for pod in pods:
            state = system_pod(pod)
            if state.ready and pod["status"].get("podIP"):
                ready.append(_server(pod))
            else:
                why = state.trouble or pod["status"].get("phase", "Pending")
                self._silent[f"node {state.node or '?'}"] = f"its test server does not run: {why}"
        return sorted(ready, key=lambda server: server.node)

    def _ask(
        self, sources: Sequence[Source], servers: Sequence[Server], services: Services
    ) -> Mapping[Source, tuple[Answer, ...]]:
        names = {source: manifests.asker_name(source, index) for index, source in enumerate(sources)}

        def start(source: Source) -> None:
            wanted = targets(source, servers, services, manifests.PORT)
            body = manifests.asker(names[source], source, self._settings.image, wanted)
            self._client.create(self._pods, body)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(start, sources))
        self._progress(f"{len(sources)} pods and hosts ask {len(servers)} servers")
        ended = self._ended(set(names.values()))
        with ThreadPoolExecutor(8) as pool:
            logs = dict(
                zip(names, pool.map(lambda name: self._log(name, ended), names.values()), strict=True)
            )
        return {source: found for source, found in logs.items() if found is not None}

    def _ended(self, names: set[str]) -> dict[str, Json]:
        """The pods by name once all have ended, or as they are when the time is over."""
        pods: dict[str, Json] = {}

        def all_ended() -> bool:
            found = self._client.items(self._pods, {"labelSelector": "app=quilt-connectivity-asker"})
            pods.update({pod["metadata"]["name"]: pod for pod in found})
            return all(pods.get(name, {}).get("status", {}).get("phase") in _ENDED for name in names)

        self._poll(all_ended, self._settings.timeout)
        return pods

    def _log(self, name: str, pods: Mapping[str, Json]) -> tuple[Answer, ...] | None:
        state = system_pod(pods[name]) if name in pods else None
        try:
            lines = self._client.text(f"{self._pods}/{name}/log").strip().splitlines()
            return answers(json.loads(lines[-1]))
        except (ApiError, ValueError, IndexError, KeyError) as error:
            why = (state.trouble if state else "") or str(error)
            where = f"node {state.node}" if state else name
            self._silent[where] = f"its test pod {name} gave no answer: {why}"
            return None

    def _poll(self, check: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not check():
            if time.monotonic() > deadline:
                return False
            time.sleep(_EVERY)
        return True


def _server(pod: Json) -> Server:
    status = pod["status"]
    addresses = [item["ip"] for item in status.get("podIPs") or ()] or [status["podIP"]]
    return Server(pod["spec"]["nodeName"], tuple(addresses), str(status.get("hostIP") or ""))

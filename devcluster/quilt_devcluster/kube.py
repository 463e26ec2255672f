"""The few requests that the devcluster itself makes to the API server, without a client library."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quilt_crds.names import NODE
from quilt_crds.wire import Node
from quilt_devcluster.errors import DevclusterError
from quilt_kube.access import Access, make_tls
from quilt_kube.request import ApiError, UnreachableError, patch, read
from quilt_kube.sync import Client

# Where each kind that we apply lives: (path below the root, whether it has a namespace).
_PATHS: dict[str, tuple[str, bool]] = {
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1/clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", False),
    "ConfigMap": ("/api/v1/namespaces/{namespace}/configmaps", True),
    "Deployment": ("/apis/apps/v1/namespaces/{namespace}/deployments", True),
    "Namespace": ("/api/v1/namespaces", False),
    "Service": ("/api/v1/namespaces/{namespace}/services", True),
    "ServiceAccount": ("/api/v1/namespaces/{namespace}/serviceaccounts", True),
}


class KubeApi:
    """The API server at 127.0.0.1:`port`, asked with the administrator's certificate from `pki`."""

    def __init__(self, port: int, pki: Path) -> None:
        """Load the certificates; connects only when asked something."""
        tls = make_tls((pki / "ca.crt").read_bytes())
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._client = Client(
            Access(f"https://127.0.0.1:{port}", tls=tls), agent="quilt-devcluster", timeout=30
        )

    def ready(self) -> bool:
        """Tell whether the API server serves."""
        try:
            self._client.send(read("/readyz", accept="*/*"), timeout=2.0)
        except (UnreachableError, ApiError):
            return False
        return True

    def wait_ready(self, timeout: float, log: Path) -> None:
        """Wait until the API server serves; after `timeout` seconds DevclusterError with the end of `log`."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            if time.monotonic() > deadline:
                raise DevclusterError(
                    f"The API server was not ready within {timeout:.0f} s.",
                    log=log,
                    hint="look also at etcd's log beside it",
                )
            time.sleep(0.1)

    def create(self, objects: Iterable[dict[str, Any]]) -> None:
        """Create each object that does not exist yet. Raises DevclusterError when one is refused."""
        for item in objects:
            path, namespaced = _PATHS[item["kind"]]
            if namespaced:
                path = path.format(namespace=item["metadata"]["namespace"])
            try:
                self._client.create(path, item)
            except ApiError as error:
                if not error.exists:
                    name = f"{item['kind']} {item['metadata']['name']}"
                    raise DevclusterError(f"Creating {name} was refused: {error}.") from error

    def label_node(self, name: str, labels: dict[str, str]) -> None:
        """Give the Node `name` labels that its kubelet may not. Raises DevclusterError when refused."""
        try:
            self._client.send(patch(NODE.path(name), {"metadata": {"labels": labels}}))
        except ApiError as error:
            raise DevclusterError(f"Labeling {name} was refused: {error}.") from error

    def delete_node(self, name: str) -> None:
        """Delete the Node `name`; one that does not exist is fine."""
        self._client.delete(NODE.path(name))

    def nodes(self) -> dict[str, bool]:
        """Return the registered nodes by name, with whether each is Ready."""
        return {node.name: node.ready for node in self._client.objects(NODE.path(), Node)}

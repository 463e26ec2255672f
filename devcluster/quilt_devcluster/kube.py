"""The few requests that the devcluster itself makes to the API server, without a client library."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.pki import client_context

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
    """HTTPS to 127.0.0.1:`port` with the administrator's certificate from `pki`."""

    def __init__(self, port: int, pki: Path) -> None:
        """Load the certificates; connects only when asked something."""
        self._port = port
        self._context = client_context((pki / "ca.crt").read_text())
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(
        self, method: str, path: str, body: Any = None, timeout: float = 30.0, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Return (HTTP status, body). Raises OSError when nobody answers."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._context, timeout=timeout
        )
        try:
            headers = {"Content-Type": kind, "Accept": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the object at `path`, None when it does not exist. Raises DevclusterError otherwise."""
        status, body = self.request("GET", path)
        if status == http.client.NOT_FOUND:
            return None
        if status != http.client.OK:
            raise DevclusterError(f"GET {path} answered {status}.", output=body.decode(errors="replace"))
        return json.loads(body)

    def ready(self) -> bool:
        """Tell whether the API server serves."""
        try:
            return self.request("GET", "/readyz", timeout=2.0)[0] == http.client.OK
        except OSError:
            return False

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
            status, body = self.request("POST", path, item)
            if status not in (http.client.CREATED, http.client.CONFLICT):
                name = f"{item['kind']} {item['metadata']['name']}"
                raise DevclusterError(
                    f"Creating {name} answered {status}.", output=body.decode(errors="replace")
                )

    def label_node(self, name: str, labels: dict[str, str]) -> None:
        """Give the Node `name` labels that its kubelet may not. Raises DevclusterError when refused."""
        body = {"metadata": {"labels": labels}}
        status, answer = self.request(
            "PATCH", f"/api/v1/nodes/{name}", body, kind="application/merge-patch+json"
        )
        if status != http.client.OK:
            raise DevclusterError(
                f"Labelling {name} answered {status}.", output=answer.decode(errors="replace")
            )

    def nodes(self) -> dict[str, bool]:
        """Return the registered nodes by name, with whether each is Ready."""
        listed = self.get("/api/v1/nodes") or {"items": []}
        return {
            node["metadata"]["name"]: any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"].get("conditions", [])
            )
            for node in listed["items"]
        }

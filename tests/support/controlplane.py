"""A control plane without nodes, and a plain HTTP client that can speak for any account of it.

Raw requests rather than a client library: a test of admission must see the server's own status and words, and
speak as a service account whose token is bound to a Pod, as an agent's is.
"""

from __future__ import annotations

import base64
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quilt_crds.names import API_VERSION, QUILTNETWORK, QUILTNODE, QUILTSUBNET, Resource, claim_name
from quilt_devcluster import Cluster
from quilt_kube.access import Access, Credentials, make_tls
from tests.support.fresh import fresh_cluster

CHART = Path(__file__).parents[2] / "helm/quilt-mesh"
NAMESPACE = "quilt-system"
JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The server's words about a refusal."""
        return str(self.body.get("message", ""))

    def ok(self) -> Json:
        """The object, when the request succeeded."""
        assert self.status < 300, f"{self.status}: {self.message}"
        return self.body

    def refused(self, status: int, *words: str) -> None:
        """Fail unless the answer has this status and says all these words."""
        assert self.status == status, f"{self.status}: {self.message or self.body}"
        for word in words:
            assert word in self.message


class Api:
    """Requests as one account: a token's, or the administrator's without one."""

    def __init__(self, kubeconfig: Path, token: str = "") -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = cluster["server"].removeprefix("https://")
        self._token = token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = make_tls(authority.encode())
        if not token:
            with tempfile.NamedTemporaryFile() as file:
                for part in ("client-certificate-data", "client-key-data"):
                    file.write(base64.b64decode(user[part]))
                file.flush()
                self._trust.load_cert_chain(file.name)

    @property
    def access(self) -> Access:
        """The same account, for the product's own client."""
        return Access(f"https://{self._address}", tls=self._trust, credentials=Credentials(token=self._token))

    def request(self, method: str, path: str, body: Json | None = None, kind: str = JSON) -> Answer:
        """One request; never raises for what the server answers. Waits on request (a CRD still settles)."""
        deadline = time.monotonic() + 30
        while (answer := self._once(method, path, body, kind)).status == 429 and time.monotonic() < deadline:
            time.sleep(float(answer.headers.get("Retry-After", "1")))
        return answer

    def _once(self, method: str, path: str, body: Json | None, kind: str) -> Answer:
        connection = http.client.HTTPSConnection(self._address, context=self._trust, timeout=30)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, self._headers | {"Content-Type": kind})
            answer = connection.getresponse()
            return Answer(answer.status, json.loads(answer.read() or "{}"), dict(answer.getheaders()))
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """GET one object or a collection."""
        return self.request("GET", path)

    def create(self, path: str, body: Json) -> Answer:
        """POST into the collection `path`."""
        return self.request("POST", path, body)

    def merge(self, path: str, body: Json) -> Answer:
        """Merge patch."""
        return self.request("PATCH", path, body, MERGE)

    def apply(self, path: str, body: Json, manager: str, *, force: bool = True) -> Answer:
        """Server-side apply under a field manager."""
        query = f"?fieldManager={manager}&force={str(force).lower()}"
        return self.request("PATCH", path + query, body, APPLY)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane and who may speak to it."""

    cluster: Cluster

    @property
    def admin(self) -> Api:
        """The administrator."""
        return Api(self.cluster.kubeconfig)

    def account(self, name: str, *bound_to: str) -> Api:
        """A service account of the release; `bound_to` are further words for `kubectl create token`."""
        token = self.cluster.kubectl("create", "token", name, "-n", NAMESPACE, *bound_to)
        return Api(self.cluster.kubeconfig, token.strip())

    def agent(self, node: str) -> Api:
        """The agent on `node`, with a token bound to its Pod as a kubelet requests it; both are made here."""
        self.admin.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        pod = f"agent-of-{node}"
        spec = {
            "nodeName": node,
            "serviceAccountName": "quilt-agent",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "agent", "image": "none"}],
        }
        self.admin.create(
            f"/api/v1/namespaces/{NAMESPACE}/pods",
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec},
        )
        uid = self.admin.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}").ok()["metadata"]["uid"]
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}", f"--bound-object-uid={uid}")
        return self.account("quilt-agent", *bound)

    def install(self, *arguments: str, chart: Path = CHART) -> str:
        """Install or upgrade the chart as the README says, wait until it is in force; Helm's output."""
        output = self.cluster.helm(
            "upgrade", "--install", "quilt", str(chart), "-n", NAMESPACE, "--create-namespace", *arguments
        )
        names = [resource.crd_name for resource in (QUILTNETWORK, QUILTNODE, QUILTSUBNET)]
        self.cluster.kubectl("wait", "crd", *names, "--for=condition=Established", "--timeout=60s")
        self._wait_enforced()
        return output

    def _wait_enforced(self) -> None:
        """Wait until both policies are obeyed: the API server learns of them by and by."""
        admin, agent = self.admin, self.account("quilt-agent")
        tried = (
            (admin, QUILTSUBNET, claim("192.0.2.0/24"), ("no params found", "is not a node subnet")),
            (agent, QUILTNODE, thing(QUILTNODE, "nobody", spec={}), ("must use a token bound",)),
        )
        deadline = time.monotonic() + 60
        for api, resource, body, words in tried:
            while True:
                message = api.create(resource.path() + "?dryRun=All", body).message
                if any(word in message for word in words):
                    break
                assert time.monotonic() < deadline, f"{resource.plural}: {message or 'accepted'}"
                time.sleep(0.05)


@contextmanager
def control_plane(name: str) -> Iterator[ControlPlane]:
    """A control plane of its own, gone afterwards."""
    with fresh_cluster(name, nodes=0, images=()) as cluster:
        yield ControlPlane(cluster)


def thing(resource: Resource, name: str, **parts: Any) -> Json:
    """An object of the quilt.io group."""
    return {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": {"name": name}, **parts}


def claim(cidr: str, node: str = "worker-1", **changes: Any) -> Json:
    """A QuiltSubnet as the operator posts it, with parts of it replaced."""
    parts: Json = {"spec": {"cidr": cidr, "network": "default", "node": node}}
    parts["mesh"] = {"phase": "Up", "hostIP": "192.0.2.1"}
    return thing(QUILTSUBNET, claim_name(cidr), **parts) | changes

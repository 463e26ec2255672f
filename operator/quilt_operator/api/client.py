"""The API server, as the operator reaches it: what it asks, by the official client, and a session for kopf.

A claim is made by creating it (atomic: its name is its CIDR), changed under its resourceVersion, and deleted
under uid and resourceVersion. Statuses are applied whole under one field manager and guarded by the uid, so
that nothing is written about a successor of the same name.

The official client sends what `quilt_kube.request` prepares; its models are left out. They would cost much
time per object, know nothing of our kinds, and lose fields that a newer server has. What its lowest layer
does not do is done here: it raises for no status, and waits five minutes unless configured otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from msgspec import to_builtins
from multidict import CIMultiDict

from quilt_crds.names import (
    NODE,
    OPERATOR_FIELD_MANAGER,
    QUILTNETWORK,
    QUILTSUBNET,
    SERVICECIDR,
    Resource,
)
from quilt_crds.wire import Mesh, Node, QuiltSubnet
from quilt_kube import aio
from quilt_kube.access import Access, find, in_cluster
from quilt_kube.listwatch import Identified, decode_list
from quilt_kube.request import (
    JSON,
    STRATEGIC_PATCH,
    ApiError,
    Json,
    Request,
    UnreachableError,
    apply,
    create,
    delete,
    describe,
    patch,
    read,
)
from quilt_operator import metrics

USER_AGENT = "quilt-operator"
CHART_FIELD_MANAGER = "quilt-chart"
# More than there are workers and watches.
_CONNECTIONS = 64
# Seconds. A server that hangs is noticed by a pause, however long a list may take.
_LONG = {"total": 120.0, "sock_read": 20.0}
# Seconds. News waits this long at most for being noticed; verdicts are in tens of seconds.
_EVERY = 0.25

T = TypeVar("T", bound=Identified)


class Fence(Protocol):
    """Who may write: the one that holds the leader's Lease."""

    held_until: float
    """By the monotonic clock."""


class Client(aio.Client):
    """An API server with credentials; one for the process and the event loop that runs.

    Whatever it is asked, all that the network can cause is UnreachableError or ApiError.
    """

    def __init__(
        self,
        access: Access,
        connections: ApiClient | None = None,
        fence: Fence | None = None,
        every: float = _EVERY,
    ) -> None:
        """Make one; with a `fence` it writes while that holds alone."""
        super().__init__(access, agent=USER_AGENT, every=every)
        self._long = _LONG
        self._fence = fence
        self._refused = False
        self._api = connections or _official_client(access)

    def fenced(self, fence: Fence) -> Client:
        """Return a client of the same connections that writes while the leader's Lease is held alone."""
        return Client(self.access, self._api, fence)

    def prompt(self) -> Client:
        """Return a client of the same connections that reads streams at once, not a few times a second."""
        return Client(self.access, self._api, self._fence, every=0.0)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()
        # The official client leaves a connector that it was given alone.
        await self._api.configuration.client_session_kwargs["connector"].close()

    def session(self) -> aiohttp.ClientSession:
        """Return a new session of any number of connections, for kopf; the caller closes it.

        Each request has its own, so that none is sent to a server that hangs since the one before. kopf asks
        for another when the credentials of the one before were refused.
        """
        if self._refused:
            self.access.credentials.refused()
        self._refused = True
        connections = aio.connector(self.access, limit=0, force_close=True)
        headers = [("User-Agent", USER_AGENT), *self.access.headers()]
        return aiohttp.ClientSession(
            connector=connections, headers=headers, proxy=self.access.proxy or None, trust_env=False
        )

    async def ask(self, request: Request) -> Json:
        """Return the object that answers a request; a write is not sent while the Lease is not held."""
        if request.method == "GET":
            return await super().ask(request)
        code = "unreachable"
        if self._fence is not None and time.monotonic() >= self._fence.held_until:
            raise UnreachableError(
                f"{request.method} {request.path} was not sent: this process does not hold the leader's Lease"
            )
        try:
            answer = await super().ask(request)
            code = "ok"
            return answer
        except ApiError as error:
            code = str(error.status)
            raise
        finally:
            metrics.API_WRITES.labels(request.method.lower(), _resource(request.path), code).inc()

    async def list(self, path: str, kind: type[T], accept: str = JSON) -> tuple[Iterator[T], int]:
        """Return all objects of a collection, decoded as `kind`, and the resourceVersion of the list."""
        return decode_list(await self.send(read(path, accept=accept), long=True), kind)

    async def create_claim(self, claim: QuiltSubnet) -> Json:
        """Make a claim; ApiError.exists when its subnet is taken."""
        body = QUILTSUBNET.document({"name": claim.name}, spec=claim.spec, mesh=claim.mesh)
        return await self.ask(create(QUILTSUBNET.path(), body, OPERATOR_FIELD_MANAGER))

    async def publish(self, claim: QuiltSubnet, mesh: Mesh) -> Json:
        """Change what a claim publishes; ApiError.conflict when the claim is not as it was seen."""
        # null removes a field in a merge patch.
        published = {"hostIP": None, "releasedAt": None, **to_builtins(mesh)}
        body = {"metadata": {"resourceVersion": str(claim.version), "uid": claim.uid}, "mesh": published}
        return await self.ask(patch(QUILTSUBNET.path(claim.name), body, OPERATOR_FIELD_MANAGER))

    async def delete_claim(self, claim: QuiltSubnet) -> None:
        """Delete exactly the claim that was seen."""
        await self.ask(delete(QUILTSUBNET.path(claim.name), uid=claim.uid, version=str(claim.version)))

    async def service_cidrs(self) -> tuple[str, ...]:
        """The Service networks; none from a server that does not tell (before Kubernetes 1.33)."""
        answer = await self.find(SERVICECIDR.path()) or {}
        lists = ((item.get("spec") or {}).get("cidrs") or [] for item in answer.get("items") or [])
        return tuple(cidr for cidrs in lists for cidr in cidrs)

    async def apply_status(self, kind: Resource, name: str, uid: str, status: Mapping[str, Any]) -> Json:
        """Say all that the operator says about an object."""
        body = kind.document({"name": name, "uid": uid}, status=status)
        return await self.ask(apply(kind.path(name, "status"), body, OPERATOR_FIELD_MANAGER))

    async def apply_network_spec(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Create the QuiltNetwork or apply what the chart says about it."""
        body = QUILTNETWORK.document({"name": name}, spec=spec)
        return await self.ask(apply(QUILTNETWORK.path(name), body, CHART_FIELD_MANAGER))

    async def clear_network_unavailable(self, host: Node, now: str) -> Json:
        """Tell a cloud that waits for routes that the node has its network; `now` in RFC 3339."""
        condition = {
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "QuiltIsUp",
            "message": "the node is part of the Quilt mesh",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        body = {"metadata": {"uid": host.uid}, "status": {"conditions": [condition]}}
        return await self.ask(
            patch(NODE.path(host.name, "status"), body, OPERATOR_FIELD_MANAGER, STRATEGIC_PATCH)
        )

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        try:
            answer = await self._api.call_api(
                request.method,
                self.access.server + request.target,
                CIMultiDict(self._headers(request)),
                to_builtins(request.document),
                _request_timeout=limits,
            )
        except ApiException as error:
            raise ConnectionError(describe(error)) from error
        response: aiohttp.ClientResponse = answer.response
        return response


def _official_client(access: Access) -> ApiClient:
    configuration = Configuration(host=access.server)
    configuration.proxy = access.proxy or None
    # No proxy but the access's: asking the environment costs two threads per request.
    connections = aio.connector(access, limit=_CONNECTIONS)
    configuration.client_session_kwargs = {"trust_env": False, "connector": connections}
    return ApiClient(configuration)


def find_access(kubeconfig: str = "") -> Access:
    """Find access by `kubeconfig` (a path) or KUBECONFIG, else by the Pod's service account.

    Raises quilt_kube's AccessError when there is neither.
    """
    # In a Pod by the address in the environment, not kubernetes.default.svc: cluster DNS needs the very Pod
    # network that we are to build.
    return find(kubeconfig) if kubeconfig or os.environ.get("KUBECONFIG") else in_cluster()


def _resource(path: str) -> str:
    parts = path.split("/")
    start = 4 if parts[1] == "apis" else 3
    if parts[start : start + 1] == ["namespaces"]:
        start += 2
    resource = parts[start] if len(parts) > start else "?"
    return f"{resource}/status" if parts[-1] == "status" else resource

"""The API server, as the official client and kopf reach it: both by the access that `quilt_kube` found."""

from __future__ import annotations

import os

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from quilt_kube.access import Access, find, in_cluster
from quilt_kube.connections import open_socket

USER_AGENT = "quilt-operator"
# More than there are workers; the long watches are not among them.
_CONNECTIONS = 48


class Connection:
    """An API server with credentials; for the event loop that runs."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.server = access.server.rstrip("/")
        self._refused = False
        connector = aiohttp.TCPConnector(
            ssl=access.tls or True, limit=_CONNECTIONS, socket_factory=open_socket
        )
        self._connector = connector
        configuration = Configuration(host=self.server)
        configuration.proxy = access.proxy or None
        # No proxy but the access's: asking the environment takes two threads per request.
        configuration.client_session_kwargs = {"trust_env": False, "connector": connector}
        self.api = ApiClient(configuration)
        """The official client."""

    async def close(self) -> None:
        """Close the official client and all its connections."""
        await self.api.close()
        await self._connector.close()

    def session(self) -> aiohttp.ClientSession:
        """Return a new session of any number of connections, for kopf; the caller closes it.

        Each request has its own, so that none is sent to a server that hangs since the one before. kopf asks
        for another when the credentials of the one before were refused.
        """
        if self._refused:
            self.access.credentials.refused()
        self._refused = True
        connector = aiohttp.TCPConnector(
            ssl=self.access.tls or True, limit=0, force_close=True, socket_factory=open_socket
        )
        headers = [("User-Agent", USER_AGENT), *self.access.headers()]
        return aiohttp.ClientSession(
            connector=connector, headers=headers, proxy=self.access.proxy or None, trust_env=False
        )


def find_access(kubeconfig: str = "") -> Access:
    """Find access by `kubeconfig` (a path) or KUBECONFIG, else by the Pod's service account.

    Raises quilt_kube's AccessError when there is neither.
    """
    # In a Pod by the address in the environment, not kubernetes.default.svc: cluster DNS needs the very Pod
    # network that we are to build.
    return find(kubeconfig) if kubeconfig or os.environ.get("KUBECONFIG") else in_cluster()

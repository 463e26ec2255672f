"""Where the API server is and how to prove who we are, as the official client finds it.

The client's own configuration (kubeconfig or service account, its rotation of tokens included) serves three
users: the client's requests, kopf's session and the bare sockets on which Leases are watched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from quilt_crds.connections import open_socket, trust_as_kubectl

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
USER_AGENT = "quilt-operator"
_TOKEN = "BearerToken"  # noqa: S105 - the name under which the client keeps it
# More than there are workers; the long watches are not among them.
_CONNECTIONS = 48


class ConfigurationError(Exception):
    """There is no usable way to reach an API server; the text says what was looked for."""


class Connection:
    """An API server with credentials."""

    def __init__(self, configuration: Configuration) -> None:
        # As the watches, no proxy but a kubeconfig's: asking the environment takes two threads per request.
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self.api = ApiClient(configuration)
        """The official client."""
        self.server = str(configuration.host).rstrip("/")
        self.ssl_context = trust_as_kubectl(self.api.rest_client.ssl_context)
        self._connector = aiohttp.TCPConnector(
            ssl=self.ssl_context, limit=_CONNECTIONS, socket_factory=open_socket
        )
        configuration.client_session_kwargs["connector"] = self._connector

    async def close(self) -> None:
        """Close the official client and all its connections."""
        await self.api.close()
        await self._connector.close()

    async def authorization(self) -> dict[str, str]:
        """Headers that authenticate a request sent now; a token that was rotated is read again."""
        token = await self._configuration.get_api_key_with_prefix(_TOKEN)
        return {"Authorization": token} if token else {}

    def last_authorization(self) -> dict[str, str]:
        """Headers as they were last used: for threads, which must not refresh them. Seconds old at most."""
        token = self._configuration.api_key.get(_TOKEN)
        return {"Authorization": token} if token else {}

    def session(self, authorization: Mapping[str, str]) -> aiohttp.ClientSession:
        """A new session of any number of connections, for the event loop that runs; the caller closes it.

        Each request has its own, so that none is sent to a server that hangs since the one before.
        """
        connector = aiohttp.TCPConnector(
            ssl=self.ssl_context, limit=0, force_close=True, socket_factory=open_socket
        )
        headers = {"User-Agent": USER_AGENT, **authorization}
        return aiohttp.ClientSession(connector=connector, headers=headers)


async def connect(kubeconfig: str = "") -> Connection:
    """A connection from `kubeconfig` (a path; or $KUBECONFIG), else from the Pod's service account.

    Raises ConfigurationError when there is neither.
    """
    path = kubeconfig or os.environ.get("KUBECONFIG", "")
    try:
        if path:
            return await _from_kubeconfig(path)
        if not (SERVICE_ACCOUNT / "token").exists():
            raise ConfigurationError("not in a Pod and no kubeconfig: pass --kubeconfig or set KUBECONFIG")
        # The address from the environment, not kubernetes.default.svc: cluster DNS needs the very Pod network
        # that we are to build.
        found = Configuration()
        load_incluster_config(found)
        return Connection(found)
    except (OSError, ValueError, ConfigException) as error:
        where = f"kubeconfig {path}" if path else "the Pod's service account"
        raise ConfigurationError(f"cannot use {where}: {error}") from error


async def _from_kubeconfig(path: str) -> Connection:
    found = Configuration()
    # The client writes keys of a kubeconfig to files for OpenSSL to read; none may outlive that.
    with TemporaryDirectory(prefix="quilt-operator-") as folder:
        await load_kube_config(path, client_configuration=found, persist_config=False, temp_file_path=folder)
        return Connection(found)

"""Reading what a backup is made of: the objects as they are, and of which cluster they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from quilt_cli.api.read import together
from quilt_cli.api.read_cluster import definitions, served
from quilt_cli.core.backup import KINDS, document
from quilt_cli.core.finding import CannotTellError
from quilt_crds.names import QUILTSUBNET
from quilt_kube.request import Json
from quilt_kube.sync import Client


def read_backup(client: Client, about: Mapping[str, str]) -> Json:
    """Read a cluster's backup; `about` says what the caller knows of it.

    Raises UnreachableError, ApiError for what may not be read, and CannotTellError where there is nothing:
    an empty backup in the place of the last good one is a loss.
    """
    reads: dict[str, Callable[[], Any]] = {kind.plural: partial(client.items, kind.path()) for kind in KINDS}
    facts = {
        "version": lambda: client.get("/version")["gitVersion"],
        "crds": lambda: served(definitions(client)),
    }
    results, refused = together({**reads, **facts})
    own = [error for name, error in refused.items() if name in reads]
    if any(error.missing for error in own):
        raise CannotTellError("the API server knows no quilt.io kinds: there is nothing to back up")
    if own:
        raise own[0]
    if not results[QUILTSUBNET.plural]:
        raise CannotTellError("the cluster has no QuiltSubnet: there is nothing to back up")
    versions = {name: ",".join(found) for name, found in (results.get("crds") or {}).items()}
    described = {
        **about,
        "cluster": client.access.server,
        "kubernetes": str(results.get("version", "")),
        "crds": ", ".join(f"{name}={found}" for name, found in sorted(versions.items())),
    }
    networks, nodes, claims = (results[kind.plural] for kind in KINDS)
    return document(networks, nodes, claims, described)

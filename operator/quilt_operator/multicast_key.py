"""The key by which agents recognize each other's multicast messages: a Secret, created once.

The chart cannot make it, as a template that draws a random key renders differently each time. The operator
may create Secrets in its namespace and read none: it never learns a key that is there already.
"""

from __future__ import annotations

import asyncio
import secrets

from quilt_crds.names import OPERATOR_FIELD_MANAGER, SECRET
from quilt_kube.request import ApiError, UnreachableError, create
from quilt_log import log
from quilt_operator.api.client import Client

# An agent's Pod waits for a Secret that is gone; nothing else depends on it.
_LOOK_AGAIN = 60.0


async def keep(client: Client, namespace: str, name: str) -> None:
    """Create the Secret `name` with a fresh entry `key` whenever it does not exist; never returns."""
    logged = ""
    while True:
        problem = await _create(client, namespace, name)
        if problem and problem != logged:
            log.warning("multicast_key_not_created", secret=name, error=problem)
        logged = problem
        await asyncio.sleep(_LOOK_AGAIN)


async def _create(client: Client, namespace: str, name: str) -> str:
    """Create the Secret where it is absent; answers what is in the way."""
    meta = {"name": name, "labels": {"app.kubernetes.io/part-of": "quilt-mesh"}}
    body = SECRET.document(meta, type="Opaque", stringData={"key": secrets.token_urlsafe(32)})
    try:
        await client.ask(create(SECRET.path(namespace=namespace), body, OPERATOR_FIELD_MANAGER))
    except ApiError as error:
        return "" if error.exists else str(error)
    except UnreachableError as error:
        return str(error)
    log.info("multicast_key_created", secret=name)
    return ""

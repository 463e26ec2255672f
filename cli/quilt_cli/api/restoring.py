"""Writing what a backup holds into a cluster; what is there by then is never replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from quilt_cli.api.read import snapshot
from quilt_cli.core.restore import Step
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import QUILTNODE, QUILTSUBNET
from quilt_kube.request import ApiError, apply, create
from quilt_kube.sync import Client

_MANAGER = "quiltctl"
_AT_ONCE = 8
# Seconds. API servers follow new CRDs, and the policy of claims follows a new network, a moment later.
_SETTLES = 30.0
_AGAIN = 0.5
_BUSY = (429, 500, 502, 503, 504)
_POLICY = "ValidatingAdmissionPolicy"


def read_settled(client: Client) -> Snapshot:
    """Read the cluster once its API server serves new CRDs; else raises what `snapshot` does."""
    until = time.monotonic() + _SETTLES
    while True:
        try:
            return snapshot(client)
        except ApiError as error:
            if error.status not in _BUSY or time.monotonic() >= until:
                raise
        time.sleep(_AGAIN)


def carry_out(client: Client, steps: Sequence[Step], tell: Callable[[str], None]) -> dict[str, str]:
    """Write the steps; answers why, by object, for those that the API server refused.

    The network and the QuiltNodes come first. An UnreachableError leaves the rest undone: written again,
    what is there is found equal.
    """
    until = time.monotonic() + _SETTLES
    first = [step for step in steps if step.kind is not QUILTSUBNET]
    claims = [step for step in steps if step.kind is QUILTSUBNET]
    for step in first:
        tell(f"writing {step.about}")
    refused = [_tried(client, step, until) for step in first]
    if claims:
        tell(f"creating {len(claims)} QuiltSubnets")
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        refused += pool.map(lambda step: _tried(client, step, until), claims)
    return _by_object((*first, *claims), refused)


def _by_object(steps: Iterable[Step], refused: Iterable[str]) -> dict[str, str]:
    return {step.about: why for step, why in zip(steps, refused, strict=True) if why}


def _tried(client: Client, step: Step, until: float) -> str:
    """Write one object, again and again while that may still help; answers why it was refused."""
    while True:
        try:
            _write(client, step)
            return ""
        except ApiError as error:
            if error.exists:
                return _whose(client, step)
            if not _settling(error) or time.monotonic() >= until:
                return str(error)
        time.sleep(_AGAIN)


def _settling(error: ApiError) -> bool:
    return error.missing or error.status in _BUSY or (error.refused and _POLICY in error.message)


def _write(client: Client, step: Step) -> None:
    if step.kind is QUILTNODE:
        # Its agent may have made it meanwhile, empty.
        client.send(apply(step.kind.path(step.body["metadata"]["name"]), step.body, _MANAGER))
    else:
        client.send(create(step.kind.path(), step.body, _MANAGER))


def _whose(client: Client, step: Step) -> str:
    """Why an object that somebody else created meanwhile is not the one that was wanted."""
    found = client.find(step.kind.path(step.body["metadata"]["name"])) or {}
    if step.kind is not QUILTSUBNET or found.get("spec") == step.body["spec"]:
        return ""
    return f"node {(found.get('spec') or {}).get('node', '?')} got it meanwhile"

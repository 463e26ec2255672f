"""Network policies for the agent (quilt.Policy): what is to be enforced, and which pods are there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from quilt_proto import policy_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.core.errors import RequestError
from quilt_runtime.podfeed import PodEvent, What
from quilt_runtime.services.answer import Call, Stream

_WHAT = {
    What.CONNECTED: pb.PodEvent.CONNECTED,
    What.DISCONNECTED: pb.PodEvent.DISCONNECTED,
    What.WAITING: pb.PodEvent.WAITING,
    What.SYNCED: pb.PodEvent.SYNCED,
}


def refuse(runtime: Runtime, request: object) -> None:
    """Refuse what this release cannot do yet."""
    raise RequestError("This runtime enforces no network policies")


async def watch(runtime: Runtime, request: pb.WatchPodsRequest) -> AsyncIterator[pb.PodEvent]:
    """Report pods until the caller leaves, is too slow, or the runtime stops."""
    with runtime.network.feed.reading() as reader:
        async for event in reader:
            yield _message(event)


def _message(event: PodEvent) -> pb.PodEvent:
    message = pb.PodEvent(what=_WHAT[event.what])
    if event.pod is not None:
        pod = event.pod
        message.pod.CopyFrom(pb.PodName(namespace=pod.namespace, name=pod.name, uid=pod.uid))
    if event.owner is not None:
        message.container_id, message.interface = event.owner.container_id, event.owner.interface
    if event.address is not None:
        message.address = str(event.address)
    return message


CALLS: Mapping[str, Call | Stream] = {
    "ReplacePolicies": Call(refuse),
    "ChangePolicies": Call(refuse),
    "WatchPods": Stream(watch),
}

"""Network policies for the agent (quilt.Policy): what is to be enforced, and which pods are there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from quilt_proto import policy_pb2 as pb
from quilt_runtime.app import Runtime
from quilt_runtime.podfeed import PodEvent, What
from quilt_runtime.policies import UnknownStateError
from quilt_runtime.services import policy_wire
from quilt_runtime.services.answer import Call, Stream

_WHAT = {
    What.CONNECTED: pb.PodEvent.CONNECTED,
    What.DISCONNECTED: pb.PodEvent.DISCONNECTED,
    What.WAITING: pb.PodEvent.WAITING,
    What.SYNCED: pb.PodEvent.SYNCED,
}


def replace(runtime: Runtime, request: pb.PolicyProgram) -> None:
    """Enforce all of a program."""
    runtime.network.policies.replace(policy_wire.program(request))


def change(runtime: Runtime, request: pb.PolicyChange) -> pb.PolicyAnswer | None:
    """Enforce a program that differs a little from the one of before."""
    try:
        runtime.network.policies.change(lambda held: policy_wire.changed(held, request))
    except UnknownStateError as error:
        return pb.PolicyAnswer(error=str(error), unknown_state=True)
    return None


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
    "ReplacePolicies": Call(replace),
    "ChangePolicies": Call(change),
    "WatchPods": Stream(watch),
}

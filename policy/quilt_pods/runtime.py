"""The runtime's Policy service, as it is asked here; every failure of gRPC is RuntimeLostError."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

import grpc.aio

from quilt_proto.policy_pb2 import PodEvent, PolicyAnswer, PolicyChange, PolicyProgram, WatchPodsRequest
from quilt_proto.policy_pb2_grpc import PolicyStub

# Seconds. 10,000 policies that hold for one pod are written in less than two, or ten on a busy machine; to
# send them again because the answer is late would only make it later.
_TIMEOUT = 120.0


class RuntimeLostError(Exception):
    """The runtime could not be reached, does not know the call, or did not answer in time."""


class RefusedError(Exception):
    """The runtime did not apply it, with its own words; `forgot` where it does not know what was before."""

    def __init__(self, text: str, *, forgot: bool = False) -> None:
        """`text` is the runtime's."""
        super().__init__(text)
        self.forgot = forgot


class PolicyRuntime:
    """One runtime, over a connection that somebody else keeps."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float = _TIMEOUT) -> None:
        self._stub = PolicyStub(channel)
        self._timeout = timeout

    async def replace(self, program: PolicyProgram) -> None:
        """Have everything enforced that is in `program`, and nothing else."""
        await self._do(self._stub.ReplacePolicies(program, timeout=self._timeout))

    async def change(self, change: PolicyChange) -> None:
        """Have a change of what was sent before enforced."""
        await self._do(self._stub.ChangePolicies(change, timeout=self._timeout))

    async def pods(self) -> AsyncIterator[PodEvent]:
        """Yield what happens to pods, first what there is; ends only by RuntimeLostError."""
        try:
            async for event in self._stub.WatchPods(WatchPodsRequest()):
                yield event
        except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
            raise RuntimeLostError(_words(error)) from error
        raise RuntimeLostError("the runtime ended the stream")

    async def _do(self, call: Awaitable[PolicyAnswer]) -> None:
        try:
            answer = await call
        except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
            raise RuntimeLostError(_words(error)) from error
        if not answer.success:
            raise RefusedError(answer.error, forgot=answer.unknown_state)


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        # gRPC tells its whole story; what a person needs is how it ends.
        return str(error.details() or error.code().name).rsplit("error: ", 1)[-1]
    return str(error)

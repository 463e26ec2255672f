"""The least that a gRPC server in Python can do, for comparison: `python -m bench.empty_server ADDRESS`."""

from __future__ import annotations

import asyncio
import sys

import grpc.aio

from quilt_proto import node_pb2, node_pb2_grpc


class Empty(node_pb2_grpc.NodeConfigServicer):
    """Answers at once."""

    async def GetStatus(self, request: object, context: object) -> node_pb2.GetStatusResponse:  # noqa: N802
        return node_pb2.GetStatusResponse()


async def serve(address: str) -> None:
    server = grpc.aio.server()
    node_pb2_grpc.add_NodeConfigServicer_to_server(Empty(), server)  # type: ignore[abstract]
    server.add_insecure_port(address)
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))

"""Generated gRPC stubs; see proto/generate.py."""

from __future__ import annotations

import os


def poll_directly() -> None:
    """Let the thread that waits for a call read its socket itself; to be called before grpc is imported.

    gRPC's event engine hands each event on from thread to thread, and on a node with little to do each of
    them has to be woken first: more than a millisecond of a change's way to the kernel.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")

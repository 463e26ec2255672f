"""The part of an operator that policies need: `python -m bench.policy_operator KUBECONFIG`.

The product's own code, from its watches to the QuiltPeers that it writes, with the claims that there are. The
other parts are left out: for them, thousands of nodes that nobody has made would be lost.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

from quilt_crds.names import DEFAULT_NETWORK, QUILTNETWORK
from quilt_kube.listwatch import SILENCE
from quilt_kube.request import read
from quilt_log import log_as_json
from quilt_operator.api.client import Client, find_access
from quilt_operator.api.events import EventRecorder
from quilt_operator.claim_watch import ClaimWatch
from quilt_operator.policies.feature import Policies
from quilt_operator.world import World


async def serve(kubeconfig: str) -> None:
    """Keep QuiltPeers until ended; tells by `policies_read` that it begins."""
    # As the operator does.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    client = Client(find_access(kubeconfig))
    world = World(DEFAULT_NETWORK, lambda _: None, lambda: None)
    world.observe(QUILTNETWORK.plural, await client.ask(read(QUILTNETWORK.path(DEFAULT_NETWORK))))
    claims = ClaimWatch(client, world)
    claims.start()
    await claims.complete.wait()
    events = EventRecorder(client, "bench", time.monotonic)
    await Policies(client.prompt(), world, events, SILENCE).run()


if __name__ == "__main__":
    log_as_json("debug", sys.stdout)
    asyncio.run(serve(sys.argv[1]))

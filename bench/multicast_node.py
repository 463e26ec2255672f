"""One node's multicast as a process: the agent's own part, given a mesh of three by its command line.

`python -m bench.multicast_node NUMBER KEYFILE FAST_LEAVE`: runs in the namespace it is started in until it is
stopped.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from quilt_crds.wire_network import MulticastSpec
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.service import Multicast, Wanted
from quilt_nodeagent.core.peer import make_peer

NODES = (1, 2, 3)


def wanted(number: int, fast_leave: bool) -> Wanted:
    """Three nodes, all Up."""
    claims = [make_peer("default", f"10.42.{n}.0/24", f"node-{n}", "Up", f"198.18.200.{n}") for n in NODES]
    settings = MulticastSpec(enabled=True, fast_leave=fast_leave, max_groups_per_pod=512)
    own = claims.pop(number - 1)
    return Wanted(settings, "vxlan100", (own,), tuple(claims))


async def main(number: int, key: Path, fast_leave: bool) -> None:
    """Serve until SIGTERM."""
    mesh = wanted(number, fast_leave)
    multicast = Multicast(lambda: mesh, key, MulticastMetrics(CollectorRegistry()))
    task = asyncio.create_task(multicast.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    multicast.changed()
    await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "1"))

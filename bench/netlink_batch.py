"""Programming and reading back a mesh's peers: quilt_netlink against `ip -batch` and `bridge -batch`.

Run as root: `python bench/netlink_batch.py [--peers 1000,5000,20000] [--rounds 5] [--json FILE]`. Each
round starts from an empty VXLAN device in a network namespace of its own; each peer is a neighbour, an FDB
entry, a nexthop object and a route. Both sides are measured in turn on the same machine; the figures are
medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quilt_netlink import (
    Create,
    Delete,
    Failure,
    FdbEntry,
    Kernel,
    Link,
    Neighbour,
    Nexthop,
    Op,
    Put,
    Route,
    Vxlan,
)

DEVICE = "vxlan100"


def vtep(number: int) -> str:
    return f"10.{64 + (number >> 8)}.{number & 255}.0"


def mac(number: int) -> str:
    return f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def host(number: int) -> str:
    return f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def operations(index: int, peers: int) -> list[Op]:
    """All neighbours, then all FDB entries, nexthops and routes: the order in which a mesh is made."""
    numbers = range(1, peers + 1)
    ops: list[Op] = [Put(Neighbour(index, vtep(n), mac(n))) for n in numbers]
    ops += [Put(FdbEntry(index, mac(n), host(n))) for n in numbers]
    ops += [Create(Nexthop(n, index, vtep(n))) for n in numbers]
    ops += [Put(Route(f"{vtep(n)}/24", 81, nhid=n)) for n in numbers]
    return ops


def scripts(folder: Path, peers: int) -> tuple[Path, Path]:
    numbers = range(1, peers + 1)
    ip = [f"neigh replace {vtep(n)} lladdr {mac(n)} dev {DEVICE} nud permanent" for n in numbers]
    ip += [f"nexthop add id {n} via {vtep(n)} dev {DEVICE} onlink proto 81" for n in numbers]
    ip += [f"route replace {vtep(n)}/24 nhid {n} proto 81" for n in numbers]
    bridge = [f"fdb replace {mac(n)} dev {DEVICE} dst {host(n)} self permanent" for n in numbers]
    for name, lines in (("ip", ip), ("bridge", bridge)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder / "ip", folder / "bridge"


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fresh(kernel: Kernel) -> int:
    """Remove the device with everything on it and make it anew."""
    kernel.run(Put(Link("lo", up=True)))  # without any local address the kernel takes no gateway
    if kernel.link(DEVICE):
        kernel.run(Delete(Link(DEVICE)))
    kernel.run(Create(Link(DEVICE, kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "198.18.0.0"))))
    link = kernel.link(DEVICE)
    assert link is not None
    return link.index


def check(kernel: Kernel, index: int, peers: int) -> None:
    tables = [kernel.neighbours(index), kernel.fdb(index), kernel.nexthops(81), kernel.routes(81)]
    assert [len(table) for table in tables] == [peers] * 4


def measure(namespace: str, peers: int, rounds: int) -> dict[str, float]:
    """Return medians in seconds."""
    times: dict[str, list[float]] = {"quilt": [], "iproute2": [], "read": [], "unchanged": []}
    with tempfile.TemporaryDirectory() as folder, Kernel.open(f"/run/netns/{namespace}") as kernel:
        ip, bridge = scripts(Path(folder), peers)

        def iproute2() -> None:
            subprocess.run(["ip", "-n", namespace, "-batch", ip], check=True)
            subprocess.run(["bridge", "-n", namespace, "-batch", bridge], check=True)

        def read(index: int) -> None:
            check(kernel, index, peers)

        for _ in range(rounds):
            index = fresh(kernel)
            ops = operations(index, peers)
            times["quilt"].append(timed(lambda ops=ops: _done(kernel.apply(ops))))  # type: ignore[misc]
            times["read"].append(timed(lambda index=index: read(index)))  # type: ignore[misc]
            puts = [op for op in ops if isinstance(op, Put)]
            times["unchanged"].append(timed(lambda puts=puts: _done(kernel.apply(puts))))  # type: ignore[misc]
            index = fresh(kernel)
            times["iproute2"].append(timed(iproute2))
            read(index)
    return {name: statistics.median(values) for name, values in times.items()}


def _done(failures: list[Failure]) -> None:
    assert not failures, failures[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default="1000,5000,20000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    namespace = f"quilt-bench-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    results = {}
    try:
        for peers in (int(text) for text in args.peers.split(",")):
            results[peers] = measure(namespace, peers, args.rounds)
            row = results[peers]
            print(
                f"{peers:>6} peers: quilt {row['quilt'] * 1e3:7.1f} ms "
                f"({row['quilt'] / peers * 1e6:.1f} us each), "
                f"iproute2 {row['iproute2'] * 1e3:7.1f} ms, ratio {row['quilt'] / row['iproute2']:.2f}, "
                f"read back {row['read'] * 1e3:.1f} ms"
            )
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())

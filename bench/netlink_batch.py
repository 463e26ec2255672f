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
import resource
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from quilt_netlink import (
    Create,
    Delete,
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


def processor() -> float:
    """Processor seconds of this process and of the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Clock:
    """Medians of what actions took: wall-clock and processor seconds; other load disturbs the latter less."""

    def __init__(self) -> None:
        self._taken: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def time(self, name: str, action: Callable[..., object], *args: object) -> None:
        start, used = time.perf_counter(), processor()
        action(*args)
        self._taken[name].append((time.perf_counter() - start, processor() - used))

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "wall": statistics.median(wall for wall, _ in taken),
                "cpu": statistics.median(c for _, c in taken),
            }
            for name, taken in self._taken.items()
        }


def fresh(kernel: Kernel) -> int:
    """Remove the device with everything on it and make it anew."""
    kernel.run(Put(Link("lo", up=True)))  # without any local address the kernel takes no gateway
    if kernel.link(DEVICE):
        kernel.run(Delete(Link(DEVICE)))
    kernel.run(Create(Link(DEVICE, kind="vxlan", up=True, vxlan=Vxlan(100, 4789, "198.18.0.0"))))
    link = kernel.link(DEVICE)
    assert link is not None
    return link.index


def read(kernel: Kernel, index: int, peers: int) -> None:
    counts = [len(kernel.neighbours(index)), len(kernel.fdb(index))]
    counts += [len(kernel.nexthops(81)), len(kernel.routes(81))]
    assert counts == [peers] * 4, counts


def write(kernel: Kernel, ops: list[Op]) -> None:
    failures = kernel.apply(ops)
    assert not failures, failures[:3]


def batches(namespace: str, ip: Path, bridge: Path) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", ip], check=True)
    subprocess.run(["bridge", "-n", namespace, "-batch", bridge], check=True)


def measure(namespace: str, peers: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return medians in seconds."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, Kernel.open(f"/run/netns/{namespace}") as kernel:
        files = scripts(Path(folder), peers)
        for _ in range(rounds):
            index = fresh(kernel)
            ops = operations(index, peers)
            clock.time("quilt", write, kernel, ops)
            clock.time("read", read, kernel, index, peers)
            fresh(kernel)
            clock.time("iproute2", batches, namespace, *files)
    return clock.medians()


def report(peers: int, row: dict[str, dict[str, float]]) -> str:
    ours, theirs = row["quilt"], row["iproute2"]
    columns = [
        f"{peers:>6} peers",
        f"quilt {ours['wall'] * 1e3:7.1f} ms ({ours['wall'] / peers * 1e6:.1f} us each)",
        f"iproute2 {theirs['wall'] * 1e3:7.1f} ms",
        f"ratio {ours['wall'] / theirs['wall']:.2f} (processor {ours['cpu'] / theirs['cpu']:.2f})",
        f"read back {row['read']['wall'] * 1e3:.1f} ms",
    ]
    return "  ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default="1000,5000,20000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    namespace = f"quilt-bench-{os.getpid()}"
    results = {}
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        for peers in (int(text) for text in args.peers.split(",")):
            results[peers] = measure(namespace, peers, args.rounds)
            print(report(peers, results[peers]))
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

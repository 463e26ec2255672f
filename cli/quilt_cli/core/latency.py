"""What the nodes' probes measured, put together: each direction by the end that knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from quilt_cli.core import finding
from quilt_cli.core.finding import (
    EXIT_CANNOT_TELL,
    EXIT_HEALTHY,
    EXIT_PROBLEMS,
    Finding,
    fail,
    unknown,
)
from quilt_crds.names import VXLAN_PORT

_FAILING, _OK, _UNKNOWN = "failing", "ok", "unknown"
# Findings about pairs; of an outage a few name it.
_NAMED = 10


class Peer(Struct, frozen=True, rename="camel"):
    """What a node's agent says of a peer: `inward` from it, `outward` to it (ok, failing, unknown).

    `narrow`: packets of full size are lost on the way to it. Losses from 0 to 1, the round trip in seconds.
    """

    node: str = ""
    inward: str = _UNKNOWN
    outward: str = _UNKNOWN
    narrow: bool = False
    loss_in: float = 0.0
    loss_out: float = 0.0
    round_trip: float | None = None


class Measured(Struct, frozen=True, rename="camel"):
    """What one node measured; `reason` says why it has no peers."""

    node: str = ""
    peers: tuple[Peer, ...] = ()
    reason: str = ""


class Path(Struct, frozen=True, rename={"source": "from", "target": "to", "round_trip": "roundTrip"}):
    """One direction between two nodes, by what both say of it."""

    source: str
    target: str
    state: str
    narrow: bool = False
    loss: float = 0.0
    round_trip: float | None = None


class Report(Struct, frozen=True, tag_field="kind", tag="QuiltLatency"):
    """The answer of `quiltctl latency`; `silent` says of which node nothing is known and why."""

    schema: int
    healthy: bool | None
    nodes: tuple[str, ...]
    paths: tuple[Path, ...]
    silent: Mapping[str, str]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 a direction fails, 2 nothing is known."""
        if not finding.healthy(self.findings):
            return EXIT_PROBLEMS
        return EXIT_HEALTHY if any(path.state == _OK for path in self.paths) else EXIT_CANNOT_TELL


def measured(document: bytes) -> Measured:
    """Read what an agent serves; ValueError where it is something else."""
    return msgspec.json.decode(document, type=Measured)


def report(nodes: Sequence[Measured], silent: Mapping[str, str]) -> Report:
    """Put together what nodes measured, and why others did not answer."""
    silent = {**silent, **{item.node: item.reason for item in nodes if item.reason}}
    paths = tuple(_paths(nodes))
    findings = tuple(_findings(paths, silent))
    known = any(path.state != _UNKNOWN for path in paths)
    names = {item.node for item in nodes} | {name for path in paths for name in (path.source, path.target)}
    return Report(
        schema=1,
        healthy=finding.healthy(findings) if known else None,
        nodes=tuple(sorted(names)),
        paths=paths,
        silent=dict(sorted(silent.items())),
        findings=findings,
    )


def badness(path: Path) -> tuple[bool, bool, float, float]:
    """What directions are sorted by: the greater, the worse."""
    return path.state == _FAILING, path.narrow, path.loss, path.round_trip or 0.0


def _paths(nodes: Sequence[Measured]) -> list[Path]:
    """Each direction that somebody watches, sorted. The state is the worse of what its ends say of it."""
    by_way: dict[tuple[str, str], list[Path]] = {}
    for item in nodes:
        for peer in item.peers:
            to, back = (item.node, peer.node), (peer.node, item.node)
            out = Path(*to, peer.outward, peer.narrow, peer.loss_out, peer.round_trip)
            by_way.setdefault(to, []).append(out)
            by_way.setdefault(back, []).append(Path(*back, peer.inward, loss=peer.loss_in))
    return [_merged(held) for _, held in sorted(by_way.items())]


def _merged(held: Sequence[Path]) -> Path:
    first = held[0]
    states = {path.state for path in held}
    trips = [path.round_trip for path in held if path.round_trip is not None]
    return Path(
        first.source,
        first.target,
        next(state for state in (_FAILING, _OK, _UNKNOWN) if state in states),
        any(path.narrow for path in held),
        max(path.loss for path in held),
        trips[0] if trips else None,
    )


def _findings(paths: Sequence[Path], silent: Mapping[str, str]) -> list[Finding]:
    found = []
    bad = [path for path in paths if path.state == _FAILING or path.narrow]
    for path in bad[:_NAMED]:
        about = f"{path.source} → {path.target}"
        if path.state == _FAILING:
            message = "probes are lost in this direction"
            todo = (
                f"does UDP {VXLAN_PORT} pass from {path.source} to {path.target}? quiltctl check node on both"
            )
            found.append(fail("path-failing", about, message, todo))
        else:
            message = "packets of full size are lost in this direction, smaller ones arrive"
            todo = f"the underlay's MTU between {path.source} and {path.target}, or network.vxlan.mtu"
            found.append(fail("path-mtu", about, message, todo))
    if len(bad) > _NAMED:
        message = f"{len(bad) - _NAMED} more directions fail"
        found.append(fail("path-failing", "mesh", message, "quiltctl latency -o json"))
    found += [
        unknown("latency-unknown", f"Node {node}", why, "quiltctl status")
        for node, why in sorted(silent.items())[:_NAMED]
    ]
    return found

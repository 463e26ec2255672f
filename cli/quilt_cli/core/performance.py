"""What the paths between two nodes carry, and how soon an answer is back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from quilt_cli.core.finding import Finding, fail
from quilt_cli.core.matrix import Source


class Figures(Struct, frozen=True):
    """What a probe found of one path: a TCP stream's bytes and seconds, and requests one after the other.

    `p50Us` and `p99Us` are microseconds until an answer of 64 bytes was back; `error` is why there is
    nothing.
    """

    bytes: int = 0
    seconds: float = 0.0
    requests: int = 0
    p50Us: float = 0.0  # noqa: N815 - its name in JSON
    p99Us: float = 0.0  # noqa: N815 - its name in JSON
    error: str = ""

    @property
    def megabits(self) -> float:
        """Mbit/s of the stream."""
        return 8e-6 * self.bytes / self.seconds if self.seconds else 0.0


class Path(Struct, frozen=True):
    """From whom to whom, by which address."""

    source: Source
    target: Source
    address: str

    @property
    def label(self) -> str:
        """As people read it."""
        return f"{self.source.label} → {self.target.label}"


@dataclass(frozen=True, slots=True)
class Performance:
    """The figures of each path in turn; `silent` says why a pod gave none."""

    figures: Mapping[Path, Figures]
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every path was measured; no figure is too low."""
        return not self.findings

    @property
    def findings(self) -> list[Finding]:
        """What could not be measured."""
        return [
            fail("connectivity-silent", what, why, f"kubectl describe {what}")
            for what, why in self.silent.items()
        ] + [
            fail("performance", path.label, figures.error, "quiltctl connectivity test")
            for path, figures in self.figures.items()
            if figures.error
        ]

    def share(self, path: Path) -> float | None:
        """How much of the nodes' own throughput a path between their pods has; None where it is not known."""
        own = [
            figures.megabits
            for other, figures in self.figures.items()
            if other.source.host
            and (other.source.node, other.target.node) == (path.source.node, path.target.node)
        ]
        if path.source.host or not own or not own[0]:
            return None
        return self.figures[path].megabits / own[0]

    def wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "kind": "QuiltPerformance",
            "schema": 1,
            "healthy": self.ok,
            "results": [
                {
                    "from": path.source.node,
                    "to": path.target.node,
                    "host": path.source.host,
                    "address": path.address,
                    "mbitPerSecond": round(figures.megabits, 1),
                    **msgspec.structs.asdict(figures),
                }
                for path, figures in self.figures.items()
            ],
            "findings": self.findings,
        }

"""What a report needs of a node beside its kernel: what agent and runtime serve on the node's loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from quilt_cli.kernel.host import fetched
from quilt_cli.kernel.node_dump import node_dump
from quilt_crds.names import LATENCY_PATH


def node_report(node: str, cni_folder: Path, agent_port: int, runtime_port: int) -> dict[str, Any]:
    """Look at this node: parts by name, and under `missing` why others are not known."""
    reads: dict[str, Callable[[], Any]] = {
        "kernel": lambda: node_dump(node, cni_folder),
        "agent metrics": lambda: fetched(agent_port, "/metrics").decode(),
        "runtime metrics": lambda: fetched(runtime_port, "/metrics").decode(),
        "latency": lambda: fetched(agent_port, LATENCY_PATH).decode(),
    }
    parts: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for part, read in reads.items():
        try:
            parts[part] = read()
        except (OSError, ValueError) as error:
            missing[part] = str(error)
    return {"kind": "QuiltNodeReport", "schema": 1, "node": node, "parts": parts, "missing": missing}

"""`quiltctl check node` on a host that another pod network was on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol


class Namespace(Protocol):
    """What the `netns` fixture makes."""

    name: str

    def run(self, *command: str, stdin: str | None = None) -> str: ...


def findings(netns: Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """What the command finds wrong, by code."""
    command = ["ip", "netns", "exec", netns.name, sys.executable, "-m", "quilt_cli", "check", "node", "--pre"]
    places = ["--cni-conf-dir", str(folder), "--run-dir", str(folder), "-o", "json"]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    found = json.loads(done.stdout)
    listed = found if isinstance(found, list) else found["findings"]
    return {item["code"]: item for item in listed if item["level"].lower() == "fail"}


def test_a_left_over_bridge_with_our_range_is_named(netns: Namespace, tmp_path: Path) -> None:
    """t20: `quiltctl check node` fails and names a left-over cni0 that has an address of the mesh's range."""
    assert "range-taken" not in findings(netns, tmp_path)
    netns.run("ip", "link", "add", "cni0", "type", "bridge")
    netns.run("ip", "address", "add", "10.42.1.1/24", "dev", "cni0")
    assert "device cni0 has 10.42.1.1/24" in findings(netns, tmp_path).get("range-taken", {}).get(
        "message", ""
    )

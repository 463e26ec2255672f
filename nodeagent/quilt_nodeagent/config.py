"""The agent's configuration: flags, or QUILT_ variables, read once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quilt_nodeagent.cni import CniPaths
from quilt_nodeagent.kernel.hostcare import Checksum


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the command line decides; see main.py for the meanings."""

    node_name: str
    network: str
    host_ip: str
    runtime_addr: str
    health_addr: str
    kubeconfig: Path | None
    proc_sys_net: Path
    cni: CniPaths
    tx_checksum: Checksum = "auto"

"""What of this host is in files: sysctls, the fill of the kernel's tables, the CNI configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quilt_cli.core import redaction
from quilt_cli.kernel.host import read

_SYSCTLS = Path("/proc/sys/net")
_ONE_BY_ONE = (
    "ipv4/ip_forward",
    "ipv4/tcp_mtu_probing",
    "ipv4/tcp_base_mss",
    "ipv4/ip_no_pmtu_disc",
    "ipv4/igmp_max_memberships",
    *(f"{family}/neigh/default/gc_thresh{step}" for family in ("ipv4", "ipv6") for step in (1, 2, 3)),
    "bridge/bridge-nf-call-iptables",
    "bridge/bridge-nf-call-ip6tables",
    "bridge/bridge-nf-call-arptables",
    "netfilter/nf_conntrack_count",
    "netfilter/nf_conntrack_max",
    "netfilter/nf_conntrack_buckets",
    "netfilter/nf_conntrack_tcp_be_liberal",
    "core/netdev_max_backlog",
    "core/rmem_max",
)
_OF_INTERFACES = (
    "ipv4/conf/{}/rp_filter",
    "ipv4/conf/{}/forwarding",
    "ipv4/conf/{}/arp_ignore",
    "ipv4/conf/{}/arp_announce",
    "ipv4/conf/{}/proxy_arp",
    "ipv6/conf/{}/forwarding",
    "ipv6/conf/{}/disable_ipv6",
    "ipv6/conf/{}/accept_ra",
)
_CONNTRACK = Path("/proc/net/stat/nf_conntrack")
# Others keep kubeconfigs and keys beside their configuration.
_CONFIGURATION = (".conf", ".conflist", ".json")
_LARGEST = 256 << 10


def sysctls(interfaces: Iterable[str]) -> dict[str, str]:
    """Settings that matter to the mesh, named as below /proc/sys/net; what the kernel lacks is left out."""
    names = [
        *_ONE_BY_ONE,
        *(name.format(one) for one in ("all", "default", *interfaces) for name in _OF_INTERFACES),
    ]
    return {name: value for name in names if (value := read(_SYSCTLS / name)) is not None}


def conntrack(table: Path = _CONNTRACK) -> dict[str, int]:
    """What happened to connections since boot, of all processors together: found, invalid, drop, …

    The file has a line for each processor, in hexadecimal (net/netfilter/nf_conntrack_standalone.c).
    """
    lines = (read(table) or "").splitlines()
    if not lines:
        return {}
    columns, rows = lines[0].split(), [[int(cell, 16) for cell in line.split()] for line in lines[1:]]
    totals = dict(zip(columns, map(sum, zip(*rows, strict=True)), strict=False))
    # The same on every line.
    return {**totals, "entries": rows[0][0]} if rows else {}


def cni_files(folder: Path) -> dict[str, Any]:
    """The CNI configuration by file, without secrets; None of files that are none. Raises OSError."""
    return {path.name: _configuration(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _configuration(path: Path) -> Any:
    if path.suffix not in _CONFIGURATION or path.stat().st_size > _LARGEST:
        return None
    try:
        return redaction.document(json.loads(read(path) or ""))
    except ValueError:
        return None

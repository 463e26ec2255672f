"""Looking at this node: what it has and what its kernel can do. Nothing is changed that outlives the look."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from socket import AF_INET6
from typing import Any

from quilt_cli.core.node_facts import Holding, NodeFacts, VxlanDevice
from quilt_cli.core.rulesets import forward_chains, tracked_only
from quilt_cli.kernel.host import CONFLIST, answers, conflists, host_name, host_programs, nft, read
from quilt_cli.kernel.netlink import IPRoute, dump, kind_of, nexthops, opened
from quilt_crds.names import BRIDGE_DEVICE

SYSCTLS = ("ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv4/neigh/default/gc_thresh3")
_LEGACY_TABLES = (Path("/proc/net/ip_tables_names"), Path("/proc/net/ip6_tables_names"))
_POLICIES = "table inet quilt-policy {"
# kube-proxy's, in mode ipvs: it has the addresses of all Services.
_IPVS = "kube-ipvs0"
_KINDS = ("vxlan", "bridge", "veth")
# What a table has that needs it, by module of the kernel.
_NFT_NEEDING = {
    "nft_ct": "chain c { notrack; }",
    "nft_objref": "counter n { }; chain c { counter name n; }",
    "nft_masq": "chain c { masquerade; }",
    "nft_fib_inet": "chain c { fib saddr type local accept; }",
}
# In a namespace of its own, which ends with the process: no device of the host is touched.
_TRY = """
import errno, sys
from pyroute2 import IPRoute, NetlinkError
kind = sys.argv[1]
settings = {"vxlan": {"vxlan_id": 1}, "veth": {"peer": "quilt-try2"}}.get(kind, {})
with IPRoute(groups=0) as kernel:
    try:
        kernel.link("add", ifname="quilt-try", kind=kind, **settings)
    except NetlinkError as error:
        sys.exit(errno.errorcode.get(error.code, str(error)))
"""


def look(port: int, cidrs: Sequence[str], cni_folder: Path, run_folder: Path) -> NodeFacts:
    """Look at this node; `port` is the mesh's UDP port, `cidrs` its ranges. Raises OSError."""
    listing, marks = _listing(), (BRIDGE_DEVICE, *(cidr.partition("/")[0] for cidr in cidrs))
    version = nft("--version")
    with opened() as kernel:
        links = dump(kernel.get_links)
        underlay, mtu = _underlay(kernel, links)
        return NodeFacts(
            kernel=platform.release(),
            can_make={kind: _can_make(kind, links) for kind in _KINDS},
            nexthop_objects=nexthops(kernel) is not None,
            nft=(version and version.stdout.strip()) or None,
            vxlans=tuple(_vxlan(link) for link in links if kind_of(link) == "vxlan"),
            bridge=any((link.get("ifname"), kind_of(link)) == (BRIDGE_DEVICE, "bridge") for link in links),
            underlay=underlay,
            underlay_mtu=mtu,
            port_in_use=_udp_in_use(port),
            drops_forward=None if listing is None else forward_chains(listing, marks),
            drops_untracked=None if listing is None else tracked_only(listing, port),
            legacy_iptables=any("filter" in (read(path) or "") for path in _LEGACY_TABLES),
            nft_has={name: _nft_has(needing) for name, needing in _NFT_NEEDING.items()},
            host_programs=host_programs(("iptables", "nft")),
            sysctls={
                name: value
                for name in (*SYSCTLS, f"ipv4/conf/{underlay}/forwarding")
                if (value := read(Path("/proc/sys/net", name))) is not None
            },
            cni_folder=host_name(cni_folder),
            cni_files=_names(cni_folder),
            cni_own=next(iter(conflists(cni_folder)), CONFLIST),
            runtime_answers=answers(run_folder / "runtime.sock"),
            policies=_POLICIES in (listing or ""),
            ipvs=any(link.get("ifname") == _IPVS for link in links),
            addresses=_addresses(kernel, links),
        )


def _vxlan(link: Any) -> VxlanDevice:
    vni, port = (link.get(("linkinfo", "data", f"vxlan_{name}")) or 0 for name in ("id", "port"))
    return VxlanDevice(link.get("ifname"), vni, port, link.get("mtu"), link["state"] == "up")


def _addresses(kernel: IPRoute, links: Sequence[Any]) -> tuple[Holding, ...]:
    names = {link["index"]: link.get("ifname") for link in links}
    # The address of a point-to-point link is its peer's; "local" is its own wherever there are two.
    held = [
        (names[entry["index"]], f"{entry.get('local') or entry.get('address')}/{entry['prefixlen']}")
        for entry in dump(kernel.get_addr)
        if entry["index"] in names
    ]
    return tuple(Holding(*item) for item in sorted(held))


def _underlay(kernel: IPRoute, links: Sequence[Any]) -> tuple[str, int]:
    """The interface of the default route with its MTU, as the best guess of what carries the mesh."""
    by_index = {link["index"]: link for link in links}
    routes = [route for route in dump(kernel.get_default_routes) if route.get("oif") in by_index]
    for route in sorted(routes, key=lambda item: (item["family"] == AF_INET6, item.get("priority") or 0)):
        link = by_index[route.get("oif")]
        return link.get("ifname"), link.get("mtu")
    return "", 0


def _can_make(kind: str, links: Sequence[Any]) -> bool | None:
    # A module that is loaded, or built in and has parameters, has a folder here.
    if any(kind_of(link) == kind for link in links) or Path("/sys/module", kind).is_dir():
        return True
    if not shutil.which("unshare"):
        return None
    command = ["unshare", "--net", sys.executable, "-c", _TRY, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # Of `unshare` itself: making a namespace is not allowed here.
    refused = done.stderr.startswith("unshare:") or "EPERM" in done.stderr
    return None if done.returncode and refused else done.returncode == 0


def _udp_in_use(port: int) -> bool | None:
    """Whether a socket is bound to the port on all addresses; the kernel's own VXLAN sockets count."""
    tables = [text for name in ("udp", "udp6") if (text := read(Path("/proc/net", name))) is not None]
    bound = (line.split()[1].rpartition(":")[2] for text in tables for line in text.splitlines()[1:])
    return f"{port:04X}" in bound if tables else None


def _listing() -> str | None:
    """What nft lists of everybody's tables, and so of iptables-nft's; None where that cannot be seen."""
    done = nft("--stateless", "list", "ruleset")
    return done.stdout if done and done.returncode == 0 else None


def _nft_has(needing: str) -> bool | None:
    """Whether the kernel accepts a table with this; None where that cannot be tried."""
    # One transaction: the table is gone before anybody could see it.
    table = "table inet quilt_try"
    script = f"{table} {{\n {needing}\n}}\ndelete {table}\n"
    done = nft("-f", "-", script=script)
    return None if done is None or "Operation not permitted" in done.stderr else done.returncode == 0


def _names(folder: Path) -> tuple[str, ...] | None:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except FileNotFoundError:
        return ()
    except OSError:
        return None

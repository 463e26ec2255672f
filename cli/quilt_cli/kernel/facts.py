"""Looking at this node: what it has and what its kernel can do. Nothing is changed that outlives the look."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quilt_cli.core.node_facts import Chain, Holding, NodeFacts, VxlanDevice
from quilt_cli.kernel.places import host_name
from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import Kernel, KernelLike, Link, NetlinkError

SYSCTLS = (
    "ipv4/ip_forward",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/send_redirects",
    "ipv4/neigh/default/gc_thresh3",
    "ipv6/conf/all/forwarding",
    "bridge/bridge-nf-call-iptables",
)
_KINDS = ("vxlan", "bridge", "veth")
# In a namespace of its own, which ends with the process: no device of the host is touched.
_TRY = """
import sys
from quilt_netlink import Create, Kernel, Link, NetlinkError, Vxlan
kind = sys.argv[1]
link = Link("quilt-try", kind, vxlan=Vxlan(1) if kind == "vxlan" else None,
            peer=Link("quilt-try2") if kind == "veth" else None)
with Kernel.open() as kernel:
    try:
        kernel.run(Create(link))
    except NetlinkError as error:
        sys.exit(f"{error}")
"""


def look(
    port: int,
    cidrs: Sequence[str],
    cni_folder: Path,
    run_folder: Path,
    sysctls: Path = Path("/proc/sys/net"),
) -> NodeFacts:
    """Look at this node; `port` is the mesh's UDP port, `cidrs` its ranges. Raises NetlinkError."""
    with Kernel.open() as kernel:
        underlay, mtu = _underlay(kernel)
        links = kernel.links()
        return NodeFacts(
            kernel=platform.release(),
            can_make={kind: _can_make(kind, links) for kind in _KINDS},
            nexthop_objects=_nexthop_objects(kernel),
            nft=_nft_version(),
            vxlans=tuple(
                VxlanDevice(link.name, link.vxlan.vni, link.vxlan.port, link.mtu, link.up)
                for link in links
                if link.vxlan is not None
            ),
            bridge=any(link.name == BRIDGE_DEVICE and link.kind == "bridge" for link in links),
            underlay=underlay,
            underlay_mtu=mtu,
            port_in_use=_udp_in_use(port),
            drops_forward=_drops_forward(cidrs),
            sysctls={name: value for name in SYSCTLS if (value := _read(sysctls / name)) is not None},
            cni_folder=host_name(cni_folder),
            cni_files=_names(cni_folder),
            runtime_answers=_answers(run_folder / "runtime.sock"),
            addresses=_addresses(kernel, links),
        )


def _addresses(kernel: KernelLike, links: Sequence[Link]) -> tuple[Holding, ...]:
    names = {link.index: link.name for link in links}
    held = [(names.get(entry.ifindex, ""), entry.address) for entry in kernel.addresses()]
    return tuple(Holding(*item) for item in sorted(held) if item[0])


def _underlay(kernel: KernelLike) -> tuple[str, int]:
    """The interface of the default route, as the best guess of what carries the mesh."""
    routes = [route for route in kernel.routes() if route.prefix in {"0.0.0.0/0", "::/0"} and route.ifindex]
    for route in sorted(routes, key=lambda item: (":" in item.prefix, item.metric)):
        link = kernel.link(route.ifindex)
        if link is not None:
            return link.name, link.mtu
    return "", 0


def _can_make(kind: str, links: Sequence[Link]) -> bool | None:
    # A module that is loaded, or built in and has parameters, has a folder here.
    if any(link.kind == kind for link in links) or Path("/sys/module", kind).is_dir():
        return True
    if not shutil.which("unshare"):
        return None
    command = ["unshare", "--net", sys.executable, "-c", _TRY, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0:
        return True
    # Of `unshare` itself: making a namespace is not allowed here.
    refused = done.stderr.startswith("unshare:") or "EPERM" in done.stderr
    return None if refused else False


def _nexthop_objects(kernel: KernelLike) -> bool | None:
    try:
        kernel.nexthops()
    except NetlinkError:
        return False
    return True


def _nft_version() -> str | None:
    if not shutil.which("nft"):
        return None
    done = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _udp_in_use(port: int) -> bool | None:
    """Whether a socket is bound to the port on all addresses; the kernel's own VXLAN sockets count."""
    found = None
    for name in ("udp", "udp6"):
        text = _read(Path("/proc/net") / name)
        if text is None:
            continue
        locals_ = [line.split()[1].rpartition(":")[2] for line in text.splitlines()[1:]]
        found = bool(found) or f"{port:04X}" in locals_
    return found


def _drops_forward(cidrs: Sequence[str]) -> tuple[Chain, ...] | None:
    """Base chains at the forward hook that drop by default, in nftables and so also of iptables-nft."""
    if not shutil.which("nft"):
        return None
    done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=False)
    try:
        entries = json.loads(done.stdout)["nftables"]
    except (ValueError, KeyError):
        return None
    return dropping_chains(entries, (BRIDGE_DEVICE, *(cidr.partition("/")[0] for cidr in cidrs)))


def dropping_chains(entries: list[dict[str, Any]], marks: Sequence[str]) -> tuple[Chain, ...]:
    """Chains of an `nft -j list ruleset` that drop what they do not accept, at the forward hook.

    A chain accepts the mesh when one of its rules speaks of one of the `marks`, a device or an address.
    """
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    found = []
    for chain in (entry["chain"] for entry in entries if "chain" in entry):
        if chain.get("hook") != "forward" or chain.get("policy") != "drop":
            continue
        place = ("family", "table")
        mine = [
            rule
            for rule in rules
            if all(rule[key] == chain[key] for key in place) and rule["chain"] == chain["name"]
        ]
        said = json.dumps([rule.get("expr") for rule in mine])
        accepts = any(f'"{mark}"' in said for mark in marks)
        found.append(Chain(f"{chain['family']} {chain['table']} {chain['name']}", accepts))
    return tuple(found)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _names(folder: Path) -> tuple[str, ...] | None:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except FileNotFoundError:
        return ()
    except OSError:
        return None


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(str(path))
    except OSError:
        return False
    return True

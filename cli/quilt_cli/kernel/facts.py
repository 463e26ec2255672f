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

from quilt_cli.core.node_facts import Chain, Holding, NodeFacts, VxlanDevice
from quilt_cli.core.rulesets import forward_chains, tracked_only
from quilt_cli.kernel.places import CONFLIST, conflists, host_name, host_programs
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
# By module of the kernel.
_NFT_STATEMENTS = {
    "nft_ct": "notrack",
    "nft_masq": "masquerade",
    "nft_fib_inet": "fib saddr type local accept",
}
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
            drops_untracked=_drops_untracked(port),
            legacy_iptables=_has_legacy_iptables(),
            nft_has={name: _nft_has(statement) for name, statement in _NFT_STATEMENTS.items()},
            host_programs=host_programs(("iptables", "nft")),
            sysctls=_sysctls(sysctls, underlay),
            cni_folder=host_name(cni_folder),
            cni_files=_names(cni_folder),
            cni_ours=next(iter(conflists(cni_folder)), CONFLIST),
            runtime_answers=_answers(run_folder / "runtime.sock"),
            addresses=_addresses(kernel, links),
        )


def _addresses(kernel: KernelLike, links: Sequence[Link]) -> tuple[Holding, ...]:
    names = {link.index: link.name for link in links}
    held = [(names.get(entry.ifindex, ""), entry.address) for entry in kernel.addresses()]
    return tuple(Holding(*item) for item in sorted(held) if item[0])


def _sysctls(folder: Path, underlay: str) -> dict[str, str]:
    names = (*SYSCTLS, f"ipv4/conf/{underlay}/forwarding")
    return {name: value for name in names if (value := _read(folder / name)) is not None}


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


def _ruleset(*options: str) -> str | None:
    """What nft lists of everybody's tables, and so of iptables-nft's; None where that cannot be seen."""
    if not shutil.which("nft"):
        return None
    command = ["nft", *options, "list", "ruleset"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _drops_forward(cidrs: Sequence[str]) -> tuple[Chain, ...] | None:
    try:
        entries = json.loads(_ruleset("-j") or "")["nftables"]
    except (ValueError, KeyError):
        return None
    return forward_chains(entries, (BRIDGE_DEVICE, *(cidr.partition("/")[0] for cidr in cidrs)))


def _drops_untracked(port: int) -> tuple[str, ...] | None:
    listing = _ruleset("--stateless")
    return None if listing is None else tracked_only(listing, port)


def _nft_has(statement: str) -> bool | None:
    """Whether the kernel knows a statement; None where that cannot be tried."""
    if not shutil.which("nft"):
        return None
    # One transaction: the table is gone before anybody could see it.
    table = "table inet quilt_try"
    text = f"{table} {{\n chain c {{\n {statement}\n }}\n}}\ndelete {table}\n"
    done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    refused = "Operation not permitted" in done.stderr
    return None if refused else done.returncode == 0


def _has_legacy_iptables() -> bool:
    return any(
        "filter" in (_read(Path("/proc/net") / f"{kind}_tables_names") or "") for kind in ("ip", "ip6")
    )


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

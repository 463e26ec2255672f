"""What Quilt Mesh leaves on a node, found by its names and route protocols, and removed in a safe order.

The CNI configuration is removed first, so that no new pod asks for a network that is being removed; routes go
before the devices that they point at, so that each removal can be reported.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import AF_INET
from typing import Any

from quilt_cli.kernel.netlink import IPRoute, NetlinkError, dump, kind_of, nexthops, remove_nexthop
from quilt_cli.kernel.places import conflists
from quilt_crds.names import BRIDGE_DEVICE, POD_INTERFACE_PREFIX, ROUTE_PROTOCOLS

NFT_TABLE = "quilt"
NFT_COMMENT = "quilt-mesh"
OUR_PLUGIN = "quilt-cni"
COMMON_PLUGINS = ("loopback", "portmap", "bandwidth")
_VETH_DIGITS = 8
_TABLE_MAIN = 254
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH)


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look: folders, and the name of the VXLAN device."""

    cni_conf: Path
    cni_bin: Path
    cni_source: Path
    run: Path
    device: str


Removal = tuple[str, Callable[[], object]]
"""One entry of the kernel's: its name, and what removes it or raises NetlinkError."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something the mesh left: what it is in words, and how to remove it (returns an error, or nothing)."""

    kind: str
    what: str
    remove: Callable[[], str]


def find(kernel: IPRoute, places: Places) -> list[Leftover]:
    """Everything of the mesh on this node, in the order in which to remove it."""
    return [
        *_files([places.cni_conf / name for name in conflists(places.cni_conf)], "CNI configuration"),
        *_routes(kernel),
        *_nexthops(kernel),
        *_links(kernel, places.device),
        *_nft(),
        *_accept_rules(),
        *_files(_binaries(places), "CNI plugin"),
        *_folder(places.run),
    ]


def foreign_plugins(places: Places) -> list[str]:
    """Common plugins that stay: others may use them, and they are not byte for byte those that we install."""
    present = [name for name in COMMON_PLUGINS if (places.cni_bin / name).is_file()]
    return [name for name in present if not _same(places.cni_bin / name, places.cni_source / name)]


def _routes(kernel: IPRoute) -> Iterator[Leftover]:
    found = [
        route
        for route in dump(kernel.get_routes)
        if route["proto"] in ROUTE_PROTOCOLS and route.get("table") == _TABLE_MAIN
    ]
    if found:
        removals = [_route(kernel, route) for route in found]
        yield _several("routes", f"{len(found)} routes of protocol 81 or 82", removals)


def _route(kernel: IPRoute, route: Any) -> Removal:
    nowhere = "0.0.0.0" if route["family"] == AF_INET else "::"  # noqa: S104  # the default route
    prefix = f"{route.get('dst') or nowhere}/{route['dst_len']}"
    same = {key: value for key in ("table", "priority", "oif") if (value := route.get(key)) is not None}
    same |= {field: route[field] for field in ("family", "proto", "type", "scope", "tos")}
    return prefix, partial(kernel.route, "del", dst=prefix, **same)


def _nexthops(kernel: IPRoute) -> Iterator[Leftover]:
    try:
        found = [hop.get("id") for hop in nexthops(kernel) if hop["proto"] in ROUTE_PROTOCOLS]
    except NetlinkError:
        return  # A kernel without nexthop objects holds none.
    if found:
        removals = [(f"nexthop {number}", partial(remove_nexthop, kernel, number)) for number in found]
        yield _several("nexthops", f"{len(found)} nexthop objects of protocol 81 or 82", removals)


def _links(kernel: IPRoute, device: str) -> Iterator[Leftover]:
    links = dump(kernel.get_links)

    def removal(link: Any) -> Removal:
        return link.get("ifname"), partial(kernel.link, "del", index=link["index"])

    veths = [link for link in links if _is_our_veth(link)]
    if veths:
        yield _several("veths", f"{len(veths)} veth pairs of pods", map(removal, veths))
    for name, kind in ((BRIDGE_DEVICE, "bridge"), (device, "vxlan")):
        for link in links:
            if (link.get("ifname"), kind_of(link)) == (name, kind):
                yield _several("link", f"{kind} device {name}", [removal(link)])


def _is_our_veth(link: Any) -> bool:
    name: str = link.get("ifname")
    digits = name.removeprefix(POD_INTERFACE_PREFIX)
    plausible = kind_of(link) == "veth" and digits != name and len(digits) == _VETH_DIGITS
    return plausible and all(digit in "0123456789abcdef" for digit in digits)


def _several(kind: str, what: str, removals: Iterable[Removal]) -> Leftover:
    return Leftover(kind, what, partial(_each, list(removals)))


def _each(removals: Iterable[Removal]) -> str:
    """Remove one after the other; return the first three refusals, of what is there still."""
    problems = []
    for what, remove in removals:
        try:
            remove()
        except NetlinkError as error:
            if error.code not in _GONE:
                problems.append(f"{what}: {error.args[1]}")
    return "; ".join(problems[:3])


def _nft() -> Iterator[Leftover]:
    for family in ("bridge", "inet") if shutil.which("nft") else ():
        if _run("nft", "list", "table", family, NFT_TABLE).returncode == 0:
            remove = partial(_remove_table, family)
            yield Leftover("nftables", f"nftables table {family} {NFT_TABLE}", remove)


def _remove_table(family: str) -> str:
    done = _run("nft", "delete", "table", family, NFT_TABLE)
    return "" if done.returncode == 0 else done.stderr.strip()


def _accept_rules() -> Iterator[Leftover]:
    """The runtime's rules in iptables-nft's FORWARD chains, known by their comment."""
    for family in ("ip", "ip6") if shutil.which("nft") else ():
        done = _run("nft", "-j", "list", "chain", family, "filter", "FORWARD")
        entries = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
        rules = [entry["rule"] for entry in entries if entry.get("rule", {}).get("comment") == NFT_COMMENT]
        for rule in rules:
            chain = (family, "filter", "FORWARD", "handle", str(rule["handle"]))
            what = f"accept rule {rule['handle']} in {family} filter FORWARD"
            yield Leftover("nftables", what, lambda chain=chain: _remove_rule(*chain))  # type: ignore[misc]


def _remove_rule(*place: str) -> str:
    done = _run("nft", "delete", "rule", *place)
    return "" if done.returncode == 0 else done.stderr.strip()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _binaries(places: Places) -> list[Path]:
    own = [name for name in COMMON_PLUGINS if _same(places.cni_bin / name, places.cni_source / name)]
    return [places.cni_bin / name for name in (OUR_PLUGIN, *own)]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _files(paths: list[Path], what: str) -> Iterator[Leftover]:
    for path in paths:
        if path.exists():
            yield Leftover("file", f"{what} {path}", lambda path=path: _unlink(path))  # type: ignore[misc]


def _unlink(path: Path) -> str:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return str(error)
    return ""


def _folder(folder: Path) -> Iterator[Leftover]:
    try:
        if any(folder.iterdir()):
            yield Leftover("state", f"sockets and state in {folder}", lambda: _empty(folder))
    except OSError:
        return


def _empty(folder: Path) -> str:
    """Empty the folder and remove it where that is possible."""
    problems = []
    for entry in folder.iterdir():
        try:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        except OSError as error:
            problems.append(str(error))
    with suppress(OSError):
        # In a pod the folder itself is a mount and stays.
        folder.rmdir()
    return "; ".join(problems)

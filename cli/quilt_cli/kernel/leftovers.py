"""What Quilt Mesh leaves on a node, found by its names and route protocols, and removed in a safe order.

The CNI configuration is removed first, so that no new pod asks for a network that is being removed; routes go
before the devices that they point at, so that each removal can be reported.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import AF_INET
from typing import Any

from quilt_cli.kernel.host import conflists, nft
from quilt_cli.kernel.netlink import IPRoute, NetlinkError, dump, kind_of, nexthops, remove_nexthop
from quilt_crds.names import BRIDGE_DEVICE, POD_INTERFACE_PREFIX, ROUTE_PROTOCOLS

NFT_TABLES = (("bridge", "quilt"), ("inet", "quilt"), ("inet", "quilt-policy"))
NFT_COMMENT = "quilt-mesh"
OUR_PLUGIN = "quilt-cni"
COMMON_PLUGINS = ("loopback", "portmap", "bandwidth")
_POD_INTERFACE = re.compile(rf"{POD_INTERFACE_PREFIX}[0-9a-f]{{8}}")
_TABLE_MAIN = 254
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look: folders, and the name of the VXLAN device."""

    cni_conf: Path
    cni_bin: Path
    cni_source: Path
    run: Path
    device: str


Removal = Callable[[], object]
"""Removes one thing, or raises OSError with what is there still and why."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something the mesh left: what it is in words, and how to remove each part of it."""

    kind: str
    what: str
    removals: Iterable[Removal]

    def remove(self) -> str:
        """Remove one part after the other; return the first refusals, or nothing."""
        problems = []
        for removal in self.removals:
            try:
                removal()
            except OSError as error:
                problems.append(str(error))
        return "; ".join(problems[:_SHOWN])


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
    present = (name for name in COMMON_PLUGINS if (places.cni_bin / name).is_file())
    return [name for name in present if not _equals_source(name, places)]


def _routes(kernel: IPRoute) -> list[Leftover]:
    found = [
        route
        for route in dump(kernel.get_routes)
        if route["proto"] in ROUTE_PROTOCOLS and route.get("table") == _TABLE_MAIN
    ]
    return _several("routes", "routes of protocol 81 or 82", [_route(kernel, route) for route in found])


def _route(kernel: IPRoute, route: Any) -> Removal:
    nowhere = "0.0.0.0" if route["family"] == AF_INET else "::"  # noqa: S104  # the default route
    prefix = f"{route.get('dst') or nowhere}/{route['dst_len']}"
    same = {key: value for key in ("table", "priority", "oif") if (value := route.get(key)) is not None}
    same |= {field: route[field] for field in ("family", "proto", "type", "scope", "tos")}
    return partial(_ask, prefix, kernel.route, "del", dst=prefix, **same)


def _nexthops(kernel: IPRoute) -> list[Leftover]:
    found = [hop.get("id") for hop in nexthops(kernel) or () if hop["protocol"] in ROUTE_PROTOCOLS]
    removals = [partial(_ask, f"nexthop {number}", remove_nexthop, kernel, number) for number in found]
    return _several("nexthops", "nexthop objects of protocol 81 or 82", removals)


def _links(kernel: IPRoute, device: str) -> Iterator[Leftover]:
    links = dump(kernel.get_links)

    def removals(links: Iterable[Any]) -> list[Removal]:
        return [partial(_ask, link.get("ifname"), kernel.link, "del", index=link["index"]) for link in links]

    veths = [
        link for link in links if kind_of(link) == "veth" and _POD_INTERFACE.fullmatch(link.get("ifname"))
    ]
    yield from _several("veths", "veth pairs of pods", removals(veths))
    for name, kind in ((BRIDGE_DEVICE, "bridge"), (device, "vxlan")):
        for link in links:
            if (link.get("ifname"), kind_of(link)) == (name, kind):
                yield Leftover("link", f"{kind} device {name}", removals([link]))


def _several(kind: str, what: str, removals: Sequence[Removal]) -> list[Leftover]:
    return [Leftover(kind, f"{len(removals)} {what}", removals)] if removals else []


def _ask(what: str, ask: Callable[..., object], *arguments: object, **fields: object) -> None:
    """Have the kernel remove something; what is gone already is fine."""
    try:
        ask(*arguments, **fields)
    except NetlinkError as error:
        if error.code not in _GONE:
            raise OSError(f"{what}: {error.args[1]}") from error


def _nft() -> Iterator[Leftover]:
    for family, table in NFT_TABLES:
        # Its sets may have thousands of elements, which are not looked at.
        if _listed("--terse", "list", "table", family, table):
            removal = partial(_delete, "table", family, table)
            yield Leftover("nftables", f"nftables table {family} {table}", [removal])


def _accept_rules() -> Iterator[Leftover]:
    """The runtime's rules in iptables-nft's FORWARD chains, known by their comment."""
    for family in ("ip", "ip6"):
        listing = _listed("-j", "list", "chain", family, "filter", "FORWARD")
        rules = [entry.get("rule", {}) for entry in json.loads(listing)["nftables"]] if listing else []
        for number in (rule["handle"] for rule in rules if rule.get("comment") == NFT_COMMENT):
            removal = partial(_delete, "rule", family, "filter", "FORWARD", "handle", str(number))
            yield Leftover("nftables", f"accept rule {number} in {family} filter FORWARD", [removal])


def _listed(*arguments: str) -> str:
    """What nft lists; nothing where it does not know what is asked for, or is not there."""
    done = nft(*arguments)
    return done.stdout if done and done.returncode == 0 else ""


def _delete(*place: str) -> None:
    done = nft("delete", *place)
    if done and done.returncode != 0:
        raise OSError(done.stderr.strip())


def _binaries(places: Places) -> list[Path]:
    own = (name for name in COMMON_PLUGINS if _equals_source(name, places))
    return [places.cni_bin / name for name in (OUR_PLUGIN, *own)]


def _equals_source(plugin: str, places: Places) -> bool:
    one, other = places.cni_bin / plugin, places.cni_source / plugin
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _files(paths: Iterable[Path], what: str) -> Iterator[Leftover]:
    for path in paths:
        if path.exists():
            yield Leftover("file", f"{what} {path}", [partial(path.unlink, missing_ok=True)])


def _folder(folder: Path) -> Iterator[Leftover]:
    with suppress(OSError):
        if any(folder.iterdir()):
            yield Leftover("state", f"sockets and state in {folder}", _emptying(folder))


def _emptying(folder: Path) -> Iterator[Removal]:
    """Read only when it comes to that: until then there may be more."""
    for entry in list(folder.iterdir()):
        tree = entry.is_dir() and not entry.is_symlink()
        yield partial(shutil.rmtree, entry) if tree else partial(entry.unlink, missing_ok=True)
    with suppress(OSError):
        # In a pod the folder itself is a mount and stays.
        folder.rmdir()

"""All that this node's kernel says of its network, as one document: what a trace or a report starts from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import AF_BRIDGE
from typing import Any

from quilt_cli.kernel import links, packetfilter, routes, settings
from quilt_cli.kernel.netlink import IPRoute, NetlinkError, dump, groups, nexthops, opened
from quilt_cli.kernel.plain import Names, Plain

KIND = "QuiltNodeDump"


def node_dump(node: str, cni_folder: Path) -> Plain:
    """Look at this node. What cannot be looked at has no key, and under `missing` the reason; OSError."""
    document: Plain = {
        "kind": KIND,
        "schema": 1,
        "node": node,
        "taken": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "kernel": platform.release(),
    }
    missing: dict[str, str] = {}
    with opened() as kernel:
        found = dump(kernel.get_links)
        names: Names = {message["index"]: message.get("ifname") for message in found}
        parts = _tables(kernel, names) | _others(names.values(), cni_folder)
        document["links"] = [links.link(message, names) for message in found]
        for part, look in parts.items():
            try:
                document[part] = look()
            except (OSError, NetlinkError, ValueError) as error:
                missing[part] = str(error)
    return {**document, "missing": missing}


def _tables(kernel: IPRoute, names: Names) -> dict[str, Callable[[], Any]]:
    def table(ask: Callable[[], Iterable[Any]], plain: Callable[[Any, Names], Plain]) -> list[Plain]:
        return [plain(message, names) for message in dump(ask)]

    return {
        "addresses": partial(table, kernel.get_addr, links.address),
        "routes": partial(table, kernel.get_routes, routes.route),
        "rules": partial(table, kernel.get_rules, routes.rule),
        "nexthops": lambda: [routes.nexthop(message, names) for message in nexthops(kernel) or ()],
        "neighbors": partial(table, kernel.get_neighbours, routes.neighbor),
        "fdb": partial(table, partial(kernel.get_neighbours, family=AF_BRIDGE), routes.fdb_entry),
        "mdb": lambda: [one for message in groups(kernel) or () for one in routes.groups(message, names)],
    }


def _others(interfaces: Iterable[str], cni_folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "nft": packetfilter.ruleset,
        "iptables": packetfilter.iptables,
        "sysctls": partial(settings.sysctls, interfaces),
        "conntrack": settings.conntrack,
        "cni": partial(settings.cni_files, cni_folder),
    }

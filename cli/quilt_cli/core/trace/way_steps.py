"""From one node to another: next hop, route, and of the overlay neighbor, FDB entry, device and its MTU."""

from __future__ import annotations

from collections.abc import Iterator

from quilt_cli.core.trace.kernel import REFUSING, Address, Kernel, Plain, address
from quilt_cli.core.trace.site import Site, Want
from quilt_cli.core.trace.step import Step, step
from quilt_crds.names import BRIDGE_DEVICE, MESH_PROTOCOL, MULTICAST_TABLE

# Priorities of the kernel's own rules.
_OWN_RULES = (0, 32766, 32767)


def tables(site: Site) -> Step:
    """The rules that lead to routing tables: the mesh is in the table main."""
    what, expected, see = (
        "routing rules",
        "none that comes before the table main",
        site.by_hand("ip rule show"),
    )
    if missing := site.lacks("rules"):
        return step("tables", site.name, what, expected, missing, see, ok=None)
    foreign = [
        rule
        for rule in site.held.all("rules")
        if rule.get("priority") not in _OWN_RULES
        and int(rule.get("priority") or 0) < _OWN_RULES[1]
        and rule.get("family") in ("inet", "inet6")
        and rule.get("table") != MULTICAST_TABLE
    ]
    texts = [f"{one.get('priority')}: {_selector(one)} table {one.get('table')}" for one in foreign]
    return step("tables", site.name, what, expected, "; ".join(texts) or "none", see, ok=not foreign or None)


def _selector(rule: Plain) -> str:
    parts = ("src", "dst", "iif", "oif", "fwmark")
    return " ".join(f"{part} {rule[part]}" for part in parts if rule.get(part)) or "all"


def to_peer(site: Site, peer: Site, want: Want, end: Address) -> Iterator[Step]:
    """Where packets to an end on a peer are led, by the overlay or by a link that both share."""
    if direct := want.direct(site, peer):
        yield from _leads(site, peer, end, (peer.host_ip, direct))
        return
    yield from _leads(site, peer, end, (str(peer.vtep), want.device))
    yield _neighbor(site, peer, want)
    yield _fdb(site, peer, want)


def _leads(site: Site, peer: Site, end: Address, hop: tuple[str, str]) -> Iterator[Step]:
    """The next hop before the route: who removes an object removes its routes."""
    kernel, missing = site.held, site.lacks("routes", "nexthops")
    routes = [route for route in kernel.route_to(peer.cidr) if route.get("type") not in REFUSING]
    plain = bool(routes) and all(not route.get("nhid") for route in routes)
    if not plain and not _has_no_objects(kernel):
        yield _nexthop(site, routes, hop, missing)
    what, see = f"route to {peer.cidr}", site.by_hand(f"ip route get {end}")
    expected = f"{peer.cidr} {_texts([hop])}"
    if missing:
        yield step("route", site.name, what, expected, missing, see, ok=None)
        return
    chosen = kernel.route(end)
    if chosen is None or chosen.get("dst") != peer.cidr or chosen.get("type") in REFUSING:
        found = "absent" if chosen is None else _text(kernel, chosen, absent=not routes)
        yield step("route", site.name, what, expected, found, see, ok=False)
        return
    # Where its next hop object leads is that one's step.
    well = kernel.way(chosen) == hop or kernel.nexthop(chosen.get("nhid")) is not None
    found = _texts([kernel.way(chosen)])
    yield step("route", site.name, what, expected, f"{peer.cidr} {found}", see, ok=well)


def _has_no_objects(kernel: Kernel) -> bool:
    """Whether the mesh's routes have their gateways themselves: kernels before 5.3 have no objects."""
    managed = [
        one for one in kernel.all("routes") if one.get("protocol") == MESH_PROTOCOL and one.get("gateway")
    ]
    return bool(managed) and not any(one.get("nhid") for one in managed)


def _nexthop(site: Site, routes: list[Plain], hop: tuple[str, str], missing: str) -> Step:
    gateway, device = hop
    what = f"next hop {gateway}"
    number = next((route.get("nhid") for route in routes), None)
    see = site.by_hand(f"ip nexthop show {f'id {number}' if number else f'proto {MESH_PROTOCOL}'}")
    expected = f"an object via {gateway} dev {device}"
    if missing:
        return step("nexthop", site.name, what, expected, missing, see, ok=None)
    managed = [one for one in site.held.all("nexthops") if one.get("protocol") == MESH_PROTOCOL]
    named = [site.held.nexthop(number)] if number else managed
    right = [one for one in named if one and (one.get("gateway"), one.get("dev")) == hop]
    if right:
        return step("nexthop", site.name, what, expected, f"id {right[0].get('id')}", see, ok=True)
    found = [f"via {one.get('gateway')} dev {one.get('dev')}" for one in named if one] if number else []
    return step("nexthop", site.name, what, expected, "; ".join(found) or "absent", see, ok=False)


def _text(kernel: Kernel, route: Plain, *, absent: bool) -> str:
    """The route that counts instead."""
    refusing = route.get("type") in REFUSING
    way = route.get("type") if refusing else _texts([kernel.way(route)])
    return f"{'absent' if absent else 'another one counts'}: {route.get('dst')} {way}"


def _texts(ways: list[tuple[str, str]]) -> str:
    shown = (" ".join(filter(None, (f"via {via}" if via else "", f"dev {dev}"))) for via, dev in ways)
    return "; ".join(shown) or "absent"


def _neighbor(site: Site, peer: Site, want: Want) -> Step:
    what, see = f"neighbor {peer.vtep}", site.by_hand(f"ip neigh show {peer.vtep} dev {want.device}")
    expected = f"{peer.mac}, permanent"
    if missing := site.lacks("neighbors"):
        return step("neighbor", site.name, what, expected, missing, see, ok=None)
    held = site.held.neighbors(str(peer.vtep), want.device)
    found = "; ".join(f"{one.get('lladdr', 'no MAC')} {' '.join(one.get('state') or ())}" for one in held)
    well = any(one.get("lladdr") == peer.mac and "PERMANENT" in (one.get("state") or ()) for one in held)
    return step("neighbor", site.name, what, expected, found or "absent", see, ok=well)


def _fdb(site: Site, peer: Site, want: Want) -> Step:
    what = f"FDB entry {peer.mac}"
    see = site.by_hand(f"bridge fdb show dev {want.device} | grep {peer.mac}")
    expected = f"to {peer.host_ip}"
    if missing := site.lacks("fdb"):
        return step("fdb", site.name, what, expected, missing, see, ok=None)
    hosts = [str(entry.get("dst")) for entry in site.held.fdb(peer.mac, want.device) if entry.get("dst")]
    found = f"to {', '.join(hosts)}" if hosts else "absent"
    return step("fdb", site.name, what, expected, found, see, ok=hosts == [peer.host_ip])


def device(site: Site, want: Want) -> Step:
    """The VXLAN device, which packs and unpacks."""
    name, vxlan = want.device, want.spec.vxlan
    what, see = f"device {name}", site.by_hand(f"ip -d addr show {name}")
    length = 128 if site.vtep.version == 6 else 32
    expected = f"up, VNI {vxlan.vni}, UDP {vxlan.port}, from {site.host_ip}, {site.mac}, {site.vtep}/{length}"
    if missing := site.lacks("links", "addresses"):
        return step("device", site.name, what, expected, missing, see, ok=None)
    link = site.held.link(name)
    if link is None:
        return step("device", site.name, what, expected, "absent", see, ok=False)
    data = (link.get("linkinfo") or {}).get("info_data") or {}
    local = str(data.get("local6") or data.get("group6") or data.get("local") or "?")
    local = local if ":" not in site.host_ip else str(data.get("local6") or "?")
    up = "UP" in (link.get("flags") or ())
    addresses = site.held.addresses(name)
    held = f"{site.vtep}/{length}"
    found = (
        f"{'up' if up else 'down'}, VNI {data.get('id')}, UDP {data.get('port')}, from {local}, "
        f"{link.get('address')}, {held if held in addresses else ', '.join(addresses) or 'no address'}"
    )
    return step("device", site.name, what, expected, found, see, ok=found == expected)


def mtu(site: Site, want: Want, interface: str = "") -> Step:
    """The MTU of the overlay, and of what leads to it: what is larger there is lost here."""
    most = want.mtu(site)
    names = [want.device, BRIDGE_DEVICE, *([interface] if interface else [])]
    what, see = f"MTU of {want.device}", site.by_hand(f"ip link show {want.device}")
    expected = f"{most}, the bridge's too, the pod's no larger"
    if missing := site.lacks("links", "addresses"):
        return step("mtu", site.name, what, expected, missing, see, ok=None)
    held = {name: int(link["mtu"]) for name in names if (link := site.held.link(name))}
    found = ", ".join(f"{name} {number}" for name, number in held.items()) or "no such device"
    if most is None:
        return step("mtu", site.name, what, "of the underlay, less 50", found, see, ok=None)
    well = all(held.get(name) == most for name in names[:2]) and held.get(interface, 0) <= most
    return step("mtu", site.name, what, expected, found, see, ok=well)


def underlay(site: Site, peer: Site, want: Want) -> Step:
    """How packets of the overlay leave the node."""
    what, see = f"route to host {peer.host_ip}", site.by_hand(f"ip route get {peer.host_ip}")
    expected = f"from {site.host_ip} by a device that is up and not of the mesh"
    if missing := site.lacks("routes", "links", "addresses"):
        return step("host-route", site.name, what, expected, missing, see, ok=None)
    if not site.underlay:
        found = f"no device has {site.host_ip}"
        return step("host-route", site.name, what, expected, found, see, ok=False)
    route = site.held.route(address(peer.host_ip))
    via, out = site.held.way(route) if route is not None else ("", "")
    link = site.held.link(out)
    if route is None or route.get("type") in REFUSING or link is None:
        found = "absent" if route is None else f"{route.get('type')} {route.get('dst')}"
        return step("host-route", site.name, what, expected, found, see, ok=False)
    up = "UP" in (link.get("flags") or ())
    found = f"{route.get('dst')} {_texts([(via, out)])}, {'up' if up else 'down'}, MTU {link.get('mtu')}"
    well = up and out not in (want.device, BRIDGE_DEVICE)
    return step("host-route", site.name, what, expected, found, see, ok=well)

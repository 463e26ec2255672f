"""A pod's own end: its interface on the node, the port of the bridge, the guard, the bridge itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quilt_cli.core.trace.kernel import is_up
from quilt_cli.core.trace.site import End, Site, Want
from quilt_cli.core.trace.step import Step, step
from quilt_crds.names import BRIDGE_DEVICE


def pod_steps(site: Site, end: End, want: Want) -> Iterator[Step]:
    """From the pod to the bridge; a node's own packets pass the bridge alone."""
    if end.is_pod:
        yield _interface(site, end)
        yield _port(site, end)
        if want.spec.spoof_guard:
            yield _guard(site, end)
    yield _bridge(site)


def _interface(site: Site, end: End) -> Step:
    what, see = f"interface {end.interface} of {end.name}", site.by_hand(f"ip -d link show {end.interface}")
    expected = "up, with a carrier: the pod's end is up too"
    if missing := site.lacks("links"):
        return step("interface", site.name, what, expected, missing, see, ok=None)
    link = site.held.link(end.interface)
    if link is None:
        return step("interface", site.name, what, expected, "absent", see, ok=False)
    alias = link.get("ifalias") or end.name
    found = "up" if is_up(link) else f"not up: {', '.join(link.get('flags') or ()) or 'no flags'}"
    if alias != end.name:
        found += f", of {alias}"
    well = is_up(link) and alias == end.name
    return step("interface", site.name, what, expected, found, see, ok=well)


def _port(site: Site, end: End) -> Step:
    what, see = f"bridge port {end.interface}", site.by_hand(f"bridge -d link show dev {end.interface}")
    expected = f"in {BRIDGE_DEVICE}, forwarding, hairpin on, not isolated"
    if missing := site.lacks("links"):
        return step("port", site.name, what, expected, missing, see, ok=None)
    link = site.held.link(end.interface) or {}
    port = (link.get("linkinfo") or {}).get("info_slave_data") or {}
    master, state = link.get("master") or "no bridge", port.get("state") or "no state"
    wrong = [name for name in ("isolated", "locked") if port.get(name)]
    wrong += [] if port.get("hairpin", not port) else ["hairpin off"]
    well = master == BRIDGE_DEVICE and state == "forwarding" and not wrong
    found = ", ".join([f"in {master}", state, *(wrong or ["hairpin on"] * bool(port))])
    return step("port", site.name, what, expected, found, see, ok=well)


def _guard(site: Site, end: End) -> Step:
    name = "own_v6" if end.address.version == 6 else "own_v4"
    what = f"guard entry of {end.address}"
    see = site.by_agent(f"nft list set bridge quilt {name}")
    expected = f"{name} has {end.interface} with its MAC and {end.address}"
    if missing := site.lacks("nft"):
        return step("guard", site.name, what, expected, missing, see, ok=None)
    elements = site.held.elements("bridge", "quilt", name)
    if elements is None:
        found = "there is no table bridge quilt: pods are not guarded"
        return step("guard", site.name, what, expected, found, see, ok=None)
    macs = [item[1] for item in map(_concat, elements) if item[::2] == (end.interface, str(end.address))]
    behind = {entry.get("mac") for entry in site.held.all("fdb") if _learned(entry, end.interface)}
    if not macs:
        return step("guard", site.name, what, expected, "absent", see, ok=False)
    if behind and macs[0] not in behind:
        found = f"{macs[0]}, but the pod sends as {', '.join(sorted(map(str, behind)))}"
        return step("guard", site.name, what, expected, found, see, ok=False)
    return step("guard", site.name, what, expected, f"{macs[0]}", see, ok=True)


def _concat(element: Any) -> tuple[str, ...]:
    held = element.get("elem", {}).get("val", element) if isinstance(element, dict) else element
    parts = held.get("concat", ()) if isinstance(held, dict) else ()
    return tuple(map(str, parts)) if len(parts) == 3 else ("", "", "")


def _learned(entry: Any, interface: str) -> bool:
    # Permanent are the port's own MACs.
    kept = entry.get("state") in ("permanent", "static")
    return entry.get("ifname") == interface and not kept and not _is_group(str(entry.get("mac")))


def _is_group(mac: str) -> bool:
    return bool(int(mac[:2] or "0", 16) & 1)


def _bridge(site: Site) -> Step:
    """The bridge: pods send everything to its address."""
    what, see = f"bridge {BRIDGE_DEVICE}", site.by_hand(f"ip addr show {BRIDGE_DEVICE}")
    expected = f"up, {site.gateway}"
    if missing := site.lacks("links", "addresses"):
        return step("bridge", site.name, what, expected, missing, see, ok=None)
    link = site.held.link(BRIDGE_DEVICE)
    if link is None:
        return step("bridge", site.name, what, expected, "absent", see, ok=False)
    addresses = site.held.addresses(BRIDGE_DEVICE)
    up = "UP" in (link.get("flags") or ())
    found = f"{'up' if up else 'down'}, {', '.join(addresses) or 'no address'}"
    return step("bridge", site.name, what, expected, found, see, ok=up and site.gateway in addresses)


def neighbor(site: Site, end: End) -> Step:
    """What the node knows of the pod's MAC: nothing before it is asked for."""
    what, see = f"neighbor {end.address}", site.by_hand(f"ip neigh show {end.address} dev {BRIDGE_DEVICE}")
    expected = f"the pod's MAC on {BRIDGE_DEVICE}, or not asked for yet"
    if missing := site.lacks("neighbors"):
        return step("pod-neighbor", site.name, what, expected, missing, see, ok=None)
    held = site.held.neighbors(str(end.address), BRIDGE_DEVICE)
    states = [state for entry in held for state in entry.get("state") or ()]
    failed = "FAILED" in states
    found = ", ".join([*(str(entry.get("lladdr")) for entry in held if entry.get("lladdr")), *states])
    return step("pod-neighbor", site.name, what, expected, found or "not asked for yet", see, ok=not failed)

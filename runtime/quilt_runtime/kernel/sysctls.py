"""Kernel switches that pod traffic needs, written through a mount of the host's /proc/sys/net.

IPv6 has one switch for forwarding on all interfaces, and turning it on makes them ignore the routers' own
advertisements, by which many hosts have their default route: those that heeded them are configured to go on.

send_redirects counts when either `all` or the interface has it, so both are off: pods reach each other
through the gateway on purpose, and a redirect would lead them around Services.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quilt_crds.names import BRIDGE_DEVICE
from quilt_runtime.core.errors import RequestError

_BRIDGE6 = f"ipv6/conf/{BRIDGE_DEVICE}"
HOST: Mapping[str, str] = {"ipv4/ip_forward": "1", "ipv4/conf/all/send_redirects": "0"}
# A new device gets these from `default`, which is the host's. Source checks: the larger of `all` and this.
BRIDGE: Mapping[str, str] = {"forwarding": "1", "send_redirects": "0"}
OVERLAY: Mapping[str, str] = {"forwarding": "1", "rp_filter": "2"}
# Pods are no routers: what they advertise is not for the node.
BRIDGE6: Mapping[str, str] = {f"{_BRIDGE6}/disable_ipv6": "0", f"{_BRIDGE6}/accept_ra": "0"}
FORWARDING6 = "ipv6/conf/all/forwarding"
_NOT_UPLINKS = frozenset({"all", "default", "lo", BRIDGE_DEVICE})


class SysctlError(RequestError):
    """A switch could not be set."""

    retryable = True


def ensure(root: Path, wanted: Mapping[str, str]) -> list[str]:
    """Set what differs and return the names that did; raises SysctlError."""
    changed = []
    for name, value in wanted.items():
        path = root / name
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
                changed.append(name)
        except OSError as error:
            raise SysctlError(
                f"cannot set {path} to {value}: {error.strerror}; "
                "is the host's /proc/sys/net mounted writable?"
            ) from error
    return changed


def ensure_device(root: Path, device: str, wanted: Mapping[str, str]) -> list[str]:
    """Set what a device needs, as long as it is there; raises SysctlError.

    The agent that makes the overlay's device sets the same; what others change later is seen here.
    """
    folder = f"ipv4/conf/{device}"
    try:
        return ensure(root, {f"{folder}/{name}": value for name, value in wanted.items()})
    except SysctlError:
        if (root / folder).exists():
            raise
        return []


def ensure_forwarding6(root: Path) -> list[str]:
    """Turn IPv6 forwarding on where it is off, without cutting the host off; raises SysctlError."""
    if _read(root / FORWARDING6) == "1":
        return []
    for folder in (root / "ipv6" / "conf").glob("*"):
        # "1" means: advertisements count unless this host forwards, "2": they count.
        if folder.name not in _NOT_UPLINKS and _read(folder / "accept_ra") == "1":
            ensure(folder, {"accept_ra": "2"})
    return ensure(root, {FORWARDING6: "1"})


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # an interface that has just gone, or a kernel without IPv6: reported when it is written
        return ""

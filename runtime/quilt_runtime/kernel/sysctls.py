"""Kernel switches that pod traffic needs, written through a mount of the host's /proc/sys/net.

send_redirects counts when either `all` or the interface has it, so both are off: pods reach each other
through the gateway on purpose, and a redirect would lead them around Services.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quilt_runtime.core.errors import RequestError

HOST: Mapping[str, str] = {"ipv4/ip_forward": "1", "ipv4/conf/all/send_redirects": "0"}
BRIDGE: Mapping[str, str] = {"ipv4/conf/quilt0/forwarding": "1", "ipv4/conf/quilt0/send_redirects": "0"}


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

"""The control plane's configuration, validated before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quilt_pim.core import validate
from quilt_pim.core.validate import ControlError

DISABLED = "disabled"
STATIC = "static"

DEFAULT_BUFFER = 256
MAX_BUFFER = 65536
DEFAULT_TTL = 30
MAX_TTL = 86400
# A path longer than this cannot be bound or connected to (sun_path, with its terminating zero).
_MAX_PATH = 107


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What flags decide; raises ControlError naming the setting that cannot be used.

    `rpf_provider` is `disabled`, `static` or the absolute path of a Unix socket; `rpf_cache_ttl` is in
    seconds, 0 caches nothing; `event_rate` is notifications a second for one subscription.
    """

    control_sock: str = "/run/quilt/control.sock"
    rpf_sock: str = "/run/quilt/rpf.sock"
    rpf_provider: str = DISABLED
    external_neighbors_enabled: bool = True
    event_buffer_size: int = DEFAULT_BUFFER
    rpf_cache_ttl: int = DEFAULT_TTL
    event_rate: int = 1000
    pim_interfaces: tuple[str, ...] = ()
    control_gid: int | None = None

    def __post_init__(self) -> None:
        provider(self.rpf_provider)
        validate.number("event_buffer_size", self.event_buffer_size, 1, MAX_BUFFER)
        validate.number("rpf_cache_ttl", self.rpf_cache_ttl, 0, MAX_TTL)
        validate.number("event_rate", self.event_rate, 1, 1_000_000)
        for name in self.pim_interfaces:
            validate.interface("pim_interface", name)
        for field in ("control_sock", "rpf_sock"):
            path = getattr(self, field)
            if path:
                socket_path(field, path)
        if self.control_gid is not None:
            validate.number("control_gid", self.control_gid, 0, validate.MAX_U32 - 1)


def provider(text: str) -> str:
    """`disabled`, `static`, or an absolute path; whether a socket is there is looked at when it is used."""
    if text.lower() in (DISABLED, STATIC):
        return text.lower()
    if not text.startswith("/"):
        raise ControlError(
            f"rpf_provider: {validate.shown(text)} must be 'disabled', 'static' or the absolute path of a "
            "Unix socket"
        )
    return socket_path("rpf_provider", text)


def socket_path(field: str, text: str) -> str:
    """An absolute path that a Unix socket can have."""
    if not Path(text).is_absolute() or "\0" in text:
        raise ControlError(f"{field}: {validate.shown(text)} must be an absolute path")
    if len(text.encode("utf-8", "surrogateescape")) > _MAX_PATH:
        raise ControlError(f"{field}: a Unix socket's path has at most {_MAX_PATH} bytes")
    return text

"""prometheus_client without the HTTP server and client of the standard library: 3 MB and 15 ms of each start.

It imports them for an endpoint of its own and for pushing; ours is served by `status_http`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_UNUSED = ("http.server", "wsgiref.simple_server", "urllib.request")


class _StandIn(ModuleType):
    """Has an empty class under every name, so that `from it import this` and `class That(this)` work."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_prometheus() -> None:
    """Import prometheus_client; to be called before anything else imports it."""
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update((name, _StandIn(name)) for name in absent)
    try:
        import prometheus_client  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]

"""Imports of the runtime's process without what it never uses: a third of its start, and 8 MB.

Each is a fallback that the importing library has, or an import of it for something that we do not call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# prometheus_client has an endpoint of its own and can push; ours is served by `status_http`.
_UNUSED = ("http.server", "wsgiref.simple_server", "urllib.request", "urllib.error", "ssl")


class _StandIn(ModuleType):
    """Has an empty class under every name, so that `from it import this` and `class That(this)` work."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_first() -> None:
    """Import asyncio without TLS and structlog without its drawings; to be called before anything does.

    TLS is gRPC's own matter here, and tracebacks are JSON. Both libraries work without these modules; whoever
    imports them later has them.
    """
    with _absent("ssl", "rich"):
        import asyncio  # noqa: F401

        import structlog  # noqa: F401


def import_prometheus() -> None:
    """Import prometheus_client; to be called before anything else imports it."""
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update((name, _StandIn(name)) for name in absent)
    try:
        import prometheus_client  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Let imports of these fail, those that are imported already excepted."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

"""How to reach an API server: an address, trust, and credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path


class AccessError(Exception):
    """The API server cannot be addressed; the text says what is missing and what to set."""


@dataclass(frozen=True, slots=True)
class Access:
    """An API server; `context` is the name people know it by, the token is in a file or held."""

    server: str
    context: str = ""
    tls: ssl.SSLContext | None = None
    token_file: Path | None = None
    token: str = field(default="", repr=False)

    def bearer(self) -> str:
        """Return the token to send now, or nothing."""
        return self.token_file.read_text().strip() if self.token_file else self.token

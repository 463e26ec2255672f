"""Which files mutual TLS is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate (with its chain) and key, and the authority that clients' must come from."""

    certificate: Path
    key: Path
    client_authority: Path

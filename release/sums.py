"""Checksums of all files of a release, as `sha256sum --check` reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def write(folder: Path) -> Path:
    """Write the checksums of all files in `folder` beside them and return that file."""
    target = folder / NAME
    files = sorted(path for path in folder.iterdir() if path.is_file() and path != target)
    target.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))
    return target

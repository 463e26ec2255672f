"""The archive of a sysdump as a file: written as it is read, and read again."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.sysdump import INDEX, Index


class Writer:
    """Adds files to a .tar.gz, below one folder; may be used by several threads."""

    def __init__(self, archive: tarfile.TarFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder
        self._lock = threading.Lock()
        self.written = 0
        """Bytes of all files, before they are compressed."""

    @classmethod
    @contextmanager
    def opened(cls, out: BinaryIO, folder: str) -> Iterator[Self]:
        """Write to a stream, which is not closed."""
        with tarfile.open(fileobj=out, mode="w|gz") as archive:
            yield cls(archive, folder)

    def add(self, name: str, content: bytes) -> None:
        """Add a file, for its owner alone. Raises OSError."""
        entry = tarfile.TarInfo(f"{self._folder}/{name}")
        entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
        with self._lock:
            self._archive.addfile(entry, io.BytesIO(content))
            self.written += len(content)


def read_archive(path: Path) -> tuple[Index, Mapping[str, bytes]]:
    """An archive's index and its files by name. Raises CannotTellError."""
    try:
        with tarfile.open(path, mode="r|gz") as archive:
            files = {
                entry.name.partition("/")[2]: found.read()
                for entry in archive
                if entry.isfile() and (found := archive.extractfile(entry))
            }
        return msgspec.json.decode(files[INDEX], type=Index), files
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError) as error:
        raise CannotTellError(f"{path} is not an archive of `quiltctl sysdump`: {error}") from error

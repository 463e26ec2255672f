"""Archives that a kernel unpacks as its first file system: cpio in the `newc` format.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Every file is of root.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file at a path without leading slash; `content` of a symbolic link is where it leads."""

    path: str
    mode: int
    content: bytes = b""
    mtime: int = 0


def folder(path: str) -> Entry:
    """Return a folder's entry."""
    return Entry(path, stat.S_IFDIR | 0o755)


def symlink(path: str, target: str) -> Entry:
    """Return the entry of a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def write(sink: BinaryIO, entries: Iterable[Entry]) -> None:
    """Write an archive; folders have to come before what they hold."""
    for number, entry in enumerate(entries, 1):
        _write(sink, entry, number)
    _write(sink, Entry(_TRAILER, 0), 0)


def _write(sink: BinaryIO, entry: Entry, inode: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, owner, group, links, mtime, size, device of the archive (two), of the entry (two), of the
    # name the size, no checksum
    fields = (inode, entry.mode, 0, 0, links, entry.mtime, len(entry.content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    sink.write(head + _padding(len(head)) + entry.content + _padding(len(entry.content)))


def _padding(size: int) -> bytes:
    return bytes(-size % 4)

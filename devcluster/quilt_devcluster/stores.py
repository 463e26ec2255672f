"""Image stores that are filled once and shared by hard links: a start would wait for nothing else as long.

A node's containerd needs a store of its own, but what lies in it (blobs, unpacked layers) is never written
again. So the first node that needs a set of images imports it, its store is kept in the cache, and all other
nodes, of this and of later clusters, begin with links to the same files and copies of the two databases.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from quilt_devcluster import paths
from quilt_devcluster.shell import run

KEEP = 4
# containerd's folders that make up a store, and its files that it changes in place.
_PARTS = (
    "io.containerd.content.v1.content",
    "io.containerd.metadata.v1.bolt",
    "io.containerd.snapshotter.v1.overlayfs",
)
_CHANGING = "*.db"


class Store:
    """The kept store of one list of archives."""

    def __init__(self, archives: Sequence[Path]) -> None:
        """Name the store after the archives, whose own names carry the hashes of their contents."""
        names = "\n".join(archive.name for archive in archives)
        key = hashlib.sha256(f"{names}{archives[0].parent}".encode()).hexdigest()[:12]
        self.folder = paths.cache_dir() / "stores" / key
        self.lock = paths.cache_dir() / "stores" / f".{key}.lock"

    def exists(self) -> bool:
        """Tell whether the store is there."""
        return self.folder.is_dir()

    def seed(self, target: Path) -> None:
        """Fill the empty containerd folder `target`, whose containerd does not run, with this store."""
        os.utime(self.folder)
        _link(self.folder, target)

    def keep(self, source: Path) -> None:
        """Keep the containerd folder `source`, whose containerd does not run and has run no container."""
        part = self.folder.with_name(self.folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _link(source, part)
        part.rename(self.folder)
        self._drop_old()

    def _drop_old(self) -> None:
        kept = [item for item in self.folder.parent.iterdir() if item.is_dir()]
        for old in sorted(kept, key=lambda item: item.stat().st_mtime)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    parts = [source / name for name in _PARTS if (source / name).exists()]
    # Hard links where both are on one disk, else copies.
    same_disk = source.stat().st_dev == target.stat().st_dev
    run(["cp", "-al" if same_disk else "-a", *parts, target], what="Preparing an image store")
    for database in target.rglob(_CHANGING) if same_disk else ():
        # At the top of a part only: an image may have files of that name in its layers, which stay links.
        if database.parent.parent == target:
            copy = database.with_suffix(".copy")
            shutil.copy2(database, copy)
            copy.rename(database)

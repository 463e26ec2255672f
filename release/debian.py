"""`python -m release.debian`, which is `make debian-lock`: writes the list of Debian's packages of today."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from quilt_devcluster import archive, hostpackages, paths, roots
from quilt_devcluster.debianlock import Lock

LOCK = Path("release/debian.lock")


def today(codename: str, progress: Callable[[str], None]) -> Lock:
    """Return what the archive has for a release on this machine, for all architectures."""
    own = archive.architecture()
    wanted = [("tools", ""), *(("runtime", "" if name == own else name) for name in archive.MACHINES)]
    packages: set[str] = set()
    with tempfile.TemporaryDirectory(dir=paths.cache_dir(), prefix="release-") as folder:
        for kind, architecture in wanted:
            target = Path(folder) / f"{kind}-{architecture}.tar"
            packages.update(roots.make(kind, codename, target, architecture, progress))
            target.unlink()
    return Lock(codename, frozenset(packages))


@click.command()
def main() -> None:
    """Write release/debian.lock, of this machine's release of Debian."""
    hostpackages.install_missing(click.echo, {"mmdebstrap": hostpackages.NEEDED["mmdebstrap"]})
    (paths.project_root() / LOCK).write_text(today(roots.release(), click.echo).text())


if __name__ == "__main__":
    main()

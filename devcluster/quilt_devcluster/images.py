"""The images that every cluster gets: pause, CoreDNS and the test image, as archives in the cache."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from quilt_devcluster import archive, binaries, paths, render, roots
from quilt_devcluster.binaries import locked

Progress = Callable[[str], None]


def images_dir() -> Path:
    """Return the folder of image archives in the cache."""
    return paths.cache_dir() / "images"


def program_archive(
    names: Sequence[str], program: Path, paths_inside: Sequence[str], progress: Progress
) -> Path:
    """Return the archive of a from-scratch image of one static program; the first of its paths is started."""
    # The program's folder carries the hash of its build, so its name is the key.
    target = images_dir() / f"{program.name}-{program.parent.name.rpartition('-')[2]}.tar"
    if not target.exists():
        progress(f"image {names[0]}: packing")
        with tempfile.TemporaryDirectory(dir=images_dir()) as scratch:
            layer = Path(scratch) / "layer.tar"
            archive.program_layer(dict.fromkeys(paths_inside, program), layer)
            archive.write_image(target, names, layer, entrypoint=paths_inside[:1])
    return target


def _test_archive(progress: Progress) -> Path:
    root = roots.ensure_root("tools", progress)
    key = hashlib.sha256(f"{root.name}{render.TEST_IMAGE}".encode()).hexdigest()[:12]
    target = images_dir() / f"quilt-test-{key}.tar"
    if not target.exists():
        progress(f"image {render.TEST_IMAGE}: packing")
        # `sleep infinity` as the default lets `kubectl run --image` keep a pod to exec into.
        archive.write_image(target, [render.TEST_IMAGE], root, command=["sleep", "infinity"])
    return target


def ensure_base_archives(progress: Progress) -> list[Path]:
    """Return the archives of the images every node needs, made now where the cache lacks them."""
    images_dir().mkdir(parents=True, exist_ok=True)
    with locked(images_dir() / ".lock-base"):
        return [
            program_archive([render.PAUSE_IMAGE], binaries.pause_program(), ["/pause"], progress),
            program_archive([render.COREDNS_IMAGE], binaries.program("coredns"), ["/coredns"], progress),
            _test_archive(progress),
        ]


def current_product_archives() -> list[Path]:
    """Return the archives of the product's images that were built last, none when never built."""
    links = sorted((images_dir() / "current").glob("*.tar"))
    return [link.resolve() for link in links if link.exists()]


def set_current(archives: Sequence[Path]) -> None:
    """Remember which archives of the product a new cluster loads."""
    folder = images_dir() / "current"
    folder.mkdir(parents=True, exist_ok=True)
    for target in archives:
        link = folder / f"{target.name.rpartition('-')[0]}.tar"
        part = link.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.rename(link)

"""The product as it was at an earlier commit, for tests of upgrades: its chart, and images built from it.

Built once and kept in the cache, from the history of this clone, by the Containerfile of that commit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster import binaries, images, paths, product, roots
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The chart's folder, the archives of its images, and the tag that these have."""

    chart: Path
    images: tuple[Path, ...]
    tag: str


def ensure(commit: str, progress: Progress) -> Earlier:
    """Return the product of a commit, built now where the cache lacks it.

    Raises DevclusterError where the clone's history does not reach back to the commit.
    """
    project = paths.project_root()
    full = _resolve(project, commit)
    tag = f"earlier-{full[:12]}"
    with binaries.locked(paths.cache_dir() / "build" / ".lock"):
        source = _source(project, full)
        bases = {kind: roots.ensure_root(kind, progress) for kind in ("runtime", "tools")}
        images.images_dir().mkdir(parents=True, exist_ok=True)
        built = []
        for target, name in product.TARGETS.items():
            archive = images.images_dir() / f"{target}-{tag}.tar"
            if not archive.exists():
                progress(f"image {target} of {full[:12]}: building …")
                product.build_one(source, target, f"{name.partition(':')[0]}:{tag}", bases, archive)
            built.append(archive)
    return Earlier(source / "helm" / "quilt-mesh", tuple(built), tag)


def _resolve(project: Path, commit: str) -> str:
    try:
        return run(["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], cwd=project).strip()
    except DevclusterError as error:
        raise DevclusterError(
            f"The commit {commit}, which an upgrade starts from, is not in the history of {project}.",
            hint="test in a clone with its history: `git fetch --unshallow`",
        ) from error


def _source(project: Path, commit: str) -> Path:
    """Return the folder with all files of a commit."""
    target = paths.cache_dir() / "earlier" / commit
    if target.exists():
        return target
    part = target.with_name(f"part-{commit}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    packed = part / "source.tar"
    run(["git", "archive", f"--output={packed}", commit], what=f"Taking out the commit {commit}", cwd=project)
    run(["tar", "-xf", packed, "-C", part], what=f"Unpacking the commit {commit}")
    packed.unlink()
    part.rename(target)
    return target

"""Debian's kernels, fetched as packages from this machine's own archive and unpacked into the cache.

Nothing is installed. apt checks the signatures as ever; it has lists of its own for each release, made from
the machine's source files with the other release's name in them. A kernel that is in the cache is kept.
"""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster import paths, roots
from quilt_devcluster.binaries import locked
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import fetch, run

Progress = Callable[[str], None]
ATTEMPTS = 3
"""So many versions are tried: the newest may be on its way to an archive's mirror."""


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """A kernel to start, the folder that has its `lib/modules`, and its version."""

    image: Path
    root: Path
    version: str


def ensure_kernel(series: str, release: str, progress: Progress) -> KernelFiles:
    """Return the kernel of a series such as `6.1`, fetched now where the cache lacks it."""
    if platform.machine() != "x86_64":
        raise DevclusterError("The kernel tests need an x86_64 machine.", hint="run `make test` without them")
    root = paths.cache_dir() / "kernels" / series
    with locked(paths.cache_dir() / "kernels" / f".lock-{series}"):
        if not root.exists():
            progress(f"kernel {series}: fetching Debian {release}'s")
            _fetch(series, release, root)
    image = next((root / "boot").glob("vmlinuz-*"))
    return KernelFiles(image, root, image.name.removeprefix("vmlinuz-"))


def source_text(text: str, own: str, release: str) -> str:
    """Return apt sources of the machine's release `own` as those of another one."""
    return re.sub(rf"\b{re.escape(own)}\b", release, text)


def candidates(names: Iterable[str], series: str) -> list[str]:
    """Return the packages of a series' cloud kernels among `names`, newest first."""
    pattern = re.compile(rf"linux-image-{re.escape(series)}\.[\w.+-]*cloud-amd64")
    found = {name for name in names if pattern.fullmatch(name)}
    return sorted(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], reverse=True)


def _fetch(series: str, release: str, root: Path) -> None:
    work = root.with_name(f"part-{series}")
    shutil.rmtree(work, ignore_errors=True)
    options = _apt(release, work / "apt")
    what = f"Fetching a kernel {series} of Debian {release}"
    hint = "the archive that this machine's apt uses has to have that release too"
    fetch(["apt-get", *options, "update", "-q"], what=what, hint=hint)
    names = candidates(run(["apt-cache", *options, "pkgnames"], what=what).split(), series)
    errors = [DevclusterError(f"{what} failed: the release has no such kernel.", hint=hint)]
    for name in names[:ATTEMPTS]:
        try:
            run(["apt-get", *options, "download", "-q", name], what=what, hint=hint, cwd=work)
        except DevclusterError as error:
            errors.append(error)
            continue
        (package,) = work.glob("*.deb")
        run(["dpkg", "-x", package, work / "root"], what=f"Unpacking {package.name}")
        (work / "root").rename(root)
        shutil.rmtree(work)
        return
    raise errors[-1]


def _apt(release: str, folder: Path) -> list[str]:
    """Return the options by which apt uses another release, with all that it keeps below `folder`."""
    own = roots.release()
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    for file in roots.sources(own):
        # In one folder, whether the machine has it in sources.list or in sources.list.d.
        (folder / "sources" / file.name).write_text(source_text(file.read_text(), own, release))
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return [f"-o{key}={value}" for key, value in settings.items()]

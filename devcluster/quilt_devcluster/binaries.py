"""Build the programs into the cache, once for each set of inputs, and find them again.

`program("kubelet")` is what everything else calls; it never builds by itself, so that a test does not
silently spend ten minutes: it says which command does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from quilt_devcluster import paths
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import fetch, run
from quilt_devcluster.tools import BY_PROGRAM, TOOLS, Tool

Progress = Callable[[str], None]
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap", "bandwidth")


def program(name: str) -> Path:
    """Return the path of a built program such as `kubelet`. Raises DevclusterError when not built yet."""
    path = BY_PROGRAM[name].folder() / name
    if not path.exists():
        raise DevclusterError(
            f"The program {name} is not built for this source tree.",
            hint="run `quilt-devcluster build`; only the first run lasts minutes",
        )
    return path


def cni_plugin_dir() -> Path:
    """Return the folder with the standard CNI plugins (see CNI_PLUGINS), for a node without the product."""
    return program(CNI_PLUGINS[0]).parent


def go_program() -> str:
    """Return the path of the Go toolchain's `go`. Raises DevclusterError when not found."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists():
            return candidate
    raise DevclusterError(
        "The Go toolchain was not found.", hint="install Go 1.26 or newer and have `go` on the PATH"
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made when absent), so that two runs do not build the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_all(progress: Progress) -> None:
    """Build every program that the cache lacks, telling `progress` of each with its time."""
    with locked(paths.cache_dir() / "bin" / ".lock"):
        # Two at a time: one's downloads and linking, which are idle or single-threaded, overlap the other.
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done in [pool.submit(_build_missing, tool, progress) for tool in TOOLS]:
                done.result()
        if not _pause_path().exists():
            _timed(progress, "pause", _build_pause)


def build(tool: Tool, progress: Progress) -> Path:
    """Build one tool's programs, if the cache lacks them, and return the folder with them."""
    with locked(paths.cache_dir() / "bin" / f".{tool.name}.lock"):
        _build_missing(tool, progress)
    return tool.folder()


def _build_missing(tool: Tool, progress: Progress) -> None:
    missing = [name for name in tool.programs if not (tool.folder() / name).exists()]
    if not missing:
        progress(f"{tool.name}: cached in {tool.folder()}")
    for name in missing:
        _timed(progress, f"{tool.name}/{name}", partial(_build, tool, name))


def _timed(progress: Progress, what: str, work: Callable[[], None]) -> None:
    progress(f"{what}: building …")
    started = time.monotonic()
    work()
    progress(f"{what}: built in {time.monotonic() - started:.0f} s")


def _build(tool: Tool, name: str) -> None:
    folder = tool.folder()
    folder.mkdir(parents=True, exist_ok=True)
    # A name of its own and a rename: an interrupted build must never look like a finished one.
    part = folder / f".{name}.part"
    fetch(
        [go_program(), "build", *tool.go_flags(), "-o", part, tool.programs[name]],
        what=f"Building {name} from {tool.module}",
        hint="read the log; a module that cannot be fetched means that no Go module proxy is reachable",
        cwd=tool.module,
        env={"CGO_ENABLED": "1" if tool.cgo else "0"},
        log=paths.cache_dir() / "log" / f"build-{name}.log",
    )
    part.rename(folder / name)


def _pause_path() -> Path:
    digest = hashlib.sha256((paths.ASSETS / "pause.c").read_bytes()).hexdigest()[:12]
    return paths.cache_dir() / "bin" / f"pause-{digest}" / "pause"


def pause_program() -> Path:
    """Return the path of the static `pause`. Raises DevclusterError when it is not built yet."""
    if not _pause_path().exists():
        raise DevclusterError("The program pause is not built.", hint="run `quilt-devcluster build`")
    return _pause_path()


def _build_pause() -> None:
    target = _pause_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    run(
        [
            os.environ.get("CC", "cc"),
            "-static",
            "-Os",
            "-s",
            "-Wall",
            "-Werror",
            "-o",
            part,
            paths.ASSETS / "pause.c",
        ],
        what="Building pause",
        hint="install a C compiler and the static C library (Debian: gcc libc6-dev)",
    )
    part.rename(target)

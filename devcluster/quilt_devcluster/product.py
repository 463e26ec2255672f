"""Build the product's own images from the project's Containerfile with buildah, into archives in the cache.

The Containerfile knows nothing of this machine. What a build needs of it (Debian roots in place of bases
from a registry, the Go toolchain, certificates, where packages come from) is handed in by build arguments
and volumes, so that none of it ends up in an image.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from quilt_devcluster import archive, binaries, images, paths, render, roots
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import fetch, run

Progress = Callable[[str], None]
TARGETS: dict[str, str] = {"node": render.NODE_IMAGE, "operator": render.OPERATOR_IMAGE}
KEEP = 3
_PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
_GO_SETTINGS = ("GOFLAGS", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN")


def build(progress: Progress, codename: str = "") -> list[Path]:
    """Build what changed and return the archives of all images; new clusters load these from then on.

    With `codename` they are made on that release of Debian instead of this machine's, are files of their own,
    and go where they are loaded by hand.
    """
    root = paths.project_root()
    with binaries.locked(paths.cache_dir() / "build" / ".lock"):
        bases = {kind: roots.ensure_root(kind, progress, codename) for kind in ("runtime", "tools")}
        root = _snapshot(root)
        key = input_key(root, [tar.name for tar in bases.values()])
        built = []
        images.images_dir().mkdir(parents=True, exist_ok=True)
        for target, name in TARGETS.items():
            output = _archive(name, codename, key)
            on = f"image {name} on Debian {codename}" if codename else f"image {name}"
            if output.exists():
                progress(f"{on}: cached")
            else:
                started = time.monotonic()
                progress(f"{on}: building …")
                build_one(root, target, name, bases, output)
                progress(f"{on}: built in {time.monotonic() - started:.0f} s")
            # Touched, so that the newest are the ones in use.
            os.utime(output)
            _drop_old(output)
            built.append(output)
    if not codename:
        images.set_current(built)
    return built


def _archive(name: str, codename: str, key: str) -> Path:
    short = name.rpartition("/")[2].partition(":")[0]
    return images.images_dir() / ("-".join(filter(None, (short, codename, key))) + ".tar")


def context_paths(root: Path) -> list[str]:
    """Return the paths that .containerignore lets into the build, in its order."""
    lines = (root / ".containerignore").read_text().splitlines()
    return [line[1:].strip() for line in lines if line.startswith("!")]


def context_files(root: Path) -> list[Path]:
    """Return all files that can influence the images, sorted."""
    found = {root / "Containerfile", root / ".containerignore"}
    for entry in context_paths(root):
        path = root / entry
        files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
        found |= {file for file in files if file.is_file() and "__pycache__" not in file.parts}
    return sorted(found)


def input_key(root: Path, bases: Iterable[str]) -> str:
    """Return the 12 hexadecimal digits that stand for the sources below `root` and the names of the bases."""
    digest = hashlib.sha256("\n".join(bases).encode())
    for file in context_files(root):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(root)} {file.stat().st_mode & 0o111} {content}\n".encode())
    return digest.hexdigest()[:12]


def _snapshot(root: Path) -> Path:
    """Copy what a build uses to the cache, so that all images come from one state of the sources."""
    folder = paths.cache_dir() / "build" / "context"
    shutil.rmtree(folder, ignore_errors=True)
    for file in context_files(root):
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    return folder


def _drop_old(newest: Path) -> None:
    """Delete all but the last few archives of one image: every change of source makes another one."""
    prefix = newest.name.rpartition("-")[0]
    name = re.compile(rf"{re.escape(prefix)}-[0-9a-f]{{12}}\.tar")
    same = [file for file in newest.parent.iterdir() if name.fullmatch(file.name) and not file.is_symlink()]
    for old in sorted(same, key=lambda file: file.stat().st_mtime)[:-KEEP]:
        old.unlink()


def _buildah(*arguments: str | Path, what: str, log: Path | None = None, timeout: float | None = None) -> str:
    storage = paths.cache_dir() / "containers"
    if shutil.which("buildah") is None:
        raise DevclusterError(
            "buildah is not installed.", hint="run `quilt-devcluster build`, which installs it"
        )
    flags = [f"--root={storage / 'storage'}", f"--runroot={storage / 'run'}", f"--storage-driver={_driver()}"]
    work = fetch if arguments[0] == "build" else run
    return work(
        ["buildah", *flags, *arguments],
        what=what,
        hint="read the log; packages that cannot be fetched mean that no package index is reachable",
        # No namespaces of its own: works wherever root may chroot.
        env={"BUILDAH_ISOLATION": "chroot"},
        log=log,
        timeout=timeout,
    )


def _driver() -> str:
    """Return the storage driver: overlay copies nothing, but cannot lie on an overlay itself."""
    filesystem = run(
        ["stat", "--file-system", "--format=%T", paths.cache_dir()], what="Looking at the cache's disk"
    )
    return os.environ.get("STORAGE_DRIVER") or ("vfs" if "overlay" in filesystem else "overlay")


def build_one(
    root: Path, target: str, name: str, bases: Mapping[str, Path], output: Path, foreign: str = ""
) -> None:
    """Build the image of one target from the sources below `root`, as an archive.

    `foreign` is an architecture that is not this machine's; `bases` then have a root of it, `system`.
    """
    kinds = {
        "PYTHON_BASE": "runtime",
        "BUILD_BASE": "tools",
        "GO_BASE": "tools",
        "SYSTEM_BASE": "system" if foreign else "runtime",
    }
    given = {argument: _base(kind, bases[kind]) for argument, kind in kinds.items()} | for_foreign(foreign)
    arguments = [f"--build-arg={argument}={value}" for argument, value in given.items()]
    # A volume leaves its empty mount point in a stage that ran with it; no image is such a stage as a whole.
    volumes = [f"--volume={source}:{inside}:{mode}" for source, inside, mode in _volumes()]
    try:
        _buildah(
            "build",
            "--layers",
            "--pull-never",
            f"--ignorefile={root / '.containerignore'}",
            f"--file={root / 'Containerfile'}",
            f"--target={target}",
            f"--tag={name}",
            *arguments,
            *volumes,
            root,
            what=f"Building the image {name} from {root / 'Containerfile'}",
            log=paths.cache_dir() / "log" / f"image-{target}.log",
        )
    finally:
        # A stage that only begins with an image leaves its container, mounted; the caller has the lock.
        _buildah("rm", "--all", what="Removing what the build left")
    part = output.with_suffix(".part")
    part.unlink(missing_ok=True)
    _buildah("push", name, f"docker-archive:{part}:{name}", what=f"Writing the image {name}")
    part.rename(output)


def for_foreign(architecture: str) -> dict[str, str]:
    """Return the arguments by which a build is for another architecture: Go's compiler and pip read them."""
    if not architecture:
        return {}
    return {
        "GOARCH": architecture,
        "PIP_PLATFORM": " ".join(wheel_platforms(architecture)),
        "PIP_ONLY_BINARY": ":all:",
    }


def wheel_platforms(architecture: str) -> list[str]:
    """Return the platforms by which pip chooses wheels for a Linux of another architecture than this one."""
    machine = archive.MACHINES[architecture]
    return [f"manylinux2014_{machine}", f"manylinux_2_28_{machine}"]


def _base(kind: str, tar: Path) -> str:
    """Return the name of the base image made from a root filesystem, put into buildah's storage when new."""
    name = f"localhost/quilt-base-{kind}:{tar.stem.rpartition('-')[2]}"
    known = _buildah("images", "--noheading", "--format={{.Name}}:{{.Tag}}", what="Listing images").split()
    if name not in known:
        packed = tar.with_suffix(".image")
        archive.write_image(packed, [name], tar)
        try:
            _buildah("pull", f"docker-archive:{packed}", what=f"Taking over {name}")
        finally:
            packed.unlink(missing_ok=True)
    return name


def _volumes() -> list[tuple[Path, str, str]]:
    """Return (here, inside, mode) of what a build sees of this machine."""
    folder = paths.cache_dir() / "build"
    folder.mkdir(parents=True, exist_ok=True)
    goroot = Path(_go_env("GOROOT"))
    (folder / "go-env").write_text(
        "".join(f"{name}={value}\n" for name in _GO_SETTINGS if (value := _go_env(name)))
    )
    config = pip_config(os.environ, [Path(name).expanduser() for name in _PIP_FILES])
    with (folder / "pip.conf").open("w") as sink:
        config.write(sink)
    volumes = [
        (goroot, "/usr/local/go", "ro"),
        (Path(_go_env("GOMODCACHE")), "/root/go/pkg/mod", "rw"),
        (Path(_go_env("GOCACHE")), "/root/.cache/go-build", "rw"),
        (folder / "go-env", "/root/.config/go/env", "ro"),
        (folder / "pip.conf", "/etc/pip.conf", "ro"),
    ]
    volumes += [(path, str(path), "ro") for path in _local_paths(config) if path.exists()]
    if Path("/etc/ssl/certs").is_dir():
        volumes.append((Path("/etc/ssl/certs"), "/etc/ssl/certs", "ro"))
    for source, _, _ in volumes:
        if not source.exists():
            source.mkdir(parents=True)
    return volumes


def _go_env(name: str) -> str:
    return run([binaries.go_program(), "env", name], what=f"Asking Go for {name}").strip()


def pip_config(environment: Mapping[str, str], files: Iterable[Path]) -> configparser.RawConfigParser:
    """Return this machine's pip settings: its configuration files in order, the PIP_ variables over them."""
    config = configparser.RawConfigParser()
    config.read(files)
    if not config.has_section("global"):
        config.add_section("global")
    for name, value in environment.items():
        if name.startswith("PIP_") and value and name != "PIP_CONFIG_FILE":
            config.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    return config


def _local_paths(config: configparser.RawConfigParser) -> list[Path]:
    """Return the files and folders of this machine that the pip settings name, certificates apart."""
    values = " ".join(
        config.get("global", name, fallback="") for name in ("find-links", "constraint")
    ).split()
    return [Path(value) for value in values if value.startswith("/")]

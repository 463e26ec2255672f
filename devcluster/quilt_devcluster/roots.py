"""Debian root filesystems made by mmdebstrap: the base of all images, in place of one from a registry.

They are made once, of the release that this machine runs: `runtime` for the product's images, `tools`, which
is what the product is built in and what the test image is, and `people`, where a test installs the command
line. The product's can be made of another release, from the same archive, and for another architecture, of
which nothing is run here: its packages are unpacked, and what matters of their scripts is done by FOREIGN.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from quilt_devcluster import paths
from quilt_devcluster.binaries import locked
from quilt_devcluster.debianlock import Lock
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run

PACKAGES: dict[str, tuple[str, ...]] = {
    "runtime": ("python3", "ca-certificates", "libstdc++6", "nftables", "iptables"),
    "tools": (
        "ca-certificates",
        "iproute2",
        "iputils-ping",
        "netcat-openbsd",
        "python3",
        "python3-venv",
        "tcpdump",
    ),
    "people": ("ca-certificates", "pipx", "quilt"),
}
# What packages' own scripts leave behind in a root whose programs cannot run here (`$1` is its folder).
FOREIGN = """set -e
cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
cp "$1/usr/share/libc-bin/nsswitch.conf" "$1/etc/nsswitch.conf"
mkdir -p "$1/etc/ssl/certs" "$1/run" "$1/tmp"
chmod 1777 "$1/tmp"
cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s "$(echo "$name" | sed 's/tables/tables-nft/')" "$1/usr/sbin/$name"
done
ln -sf dash "$1/usr/bin/sh"
for package in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb --field "$package"
  printf 'Status: install ok installed\n\n'
done > "$1/var/lib/dpkg/status"
"""
# Writes a line for each package that was fetched: name, version, architecture, sha256 of the file.
LISTING = """set -e
for package in "$1"/var/cache/apt/archives/*.deb; do
  sum="$(sha256sum < "$package")"
  dpkg-deb --show --showformat="\\${Package} \\${Version} \\${Architecture} ${sum%% *}\\n" "$package"
done"""
# Times of what is made here; those of packages' files are older or become it. Two roots of the same packages
# are the same bytes then, and compiled modules hold by hashes instead of times.
EPOCH = {"SOURCE_DATE_EPOCH": "1767225600"}
EXCLUDED = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)


def release() -> str:
    """Return the code name of this machine's Debian. Raises DevclusterError elsewhere."""
    facts = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    codename = facts.get("VERSION_CODENAME", "").strip('"')
    if facts.get("ID", "").strip('"') != "debian" or not codename:
        raise DevclusterError(
            "The images are made from this machine's Debian, but it runs something else.",
            hint="run the devcluster on Debian 12 or newer",
        )
    return codename


def sources(codename: str, folder: Path = Path("/etc/apt")) -> list[Path]:
    """Return the machine's own apt source files that hold the main archive of `codename`."""
    candidates = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found = []
    for file in candidates:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        words = file.read_text().split()
        if codename in words and "main" in words:
            found.append(file)
    return found


def sources_of(codename: str, text: str) -> str:
    """Return the text of an apt source file of this machine's release, rewritten to the release `codename`.

    Its updates and security suites follow; names that merely end like the release stay.
    """
    return re.sub(rf"(?<![\w-]){re.escape(release())}(?=[-\s/]|$)", codename, text)


def _sources_for(codename: str) -> list[Path]:
    """Return apt source files for `codename`: the machine's own, or copies of them that name this release."""
    own = sources(release())
    if codename == release():
        return own
    folder = paths.cache_dir() / "roots" / f"sources-{codename}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in own:
        (folder / file.name).write_text(sources_of(codename, file.read_text()))
    return [folder / file.name for file in own]


def root_tar(kind: str, codename: str, architecture: str = "", lock: Lock | None = None) -> Path:
    """Return where the root filesystem `kind` is or will be cached, as an uncompressed tar."""
    foreign = [architecture, FOREIGN] if architecture else []
    locked_to = sorted(lock.packages) if lock else []
    key = json.dumps([codename, PACKAGES[kind], EXCLUDED, EPOCH, *foreign, *locked_to])
    return paths.cache_dir() / "roots" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.tar"


def ensure_root(
    kind: str,
    progress: Callable[[str], None],
    codename: str = "",
    architecture: str = "",
    lock: Lock | None = None,
) -> Path:
    """Return the tar of the root filesystem `kind`, made now when the cache lacks it.

    `codename` is a release of Debian, by default the lock's or this machine's, and `architecture` another one
    than this machine's. Raises DevclusterError where it would have a package that is not as in the `lock`.
    """
    codename = codename or (lock.codename if lock else release())
    target = root_tar(kind, codename, architecture, lock)
    with locked(paths.cache_dir() / "roots" / f".lock-{kind}"):
        if target.exists():
            return target
        part = target.with_name("part-" + target.name)
        packages = make(kind, codename, part, architecture, progress)
        if lock:
            lock.check(packages)
        part.rename(target)
    return target


def make(
    kind: str, codename: str, target: Path, architecture: str, progress: Callable[[str], None]
) -> list[str]:
    """Make a root filesystem from what the archive has now; return its packages as a lock lists them."""
    on = " ".join(filter(None, (codename, architecture)))
    progress(f"{kind} root filesystem: installing Debian {on} (about 20 s)")
    run(
        _command(kind, codename, target, architecture),
        what=f"Making the {kind} root filesystem with mmdebstrap",
        hint="read the log; packages that cannot be fetched mean that no Debian archive is reachable",
        env=EPOCH,
        log=paths.cache_dir() / "log" / f"root-{kind}-{on.replace(' ', '-')}.log",
    )
    packages = _listing(target).read_text().splitlines()
    _listing(target).unlink()
    return packages


def _listing(target: Path) -> Path:
    """Return where the packages of a root are listed while it is made."""
    return target.with_suffix(".packages")


def _command(kind: str, codename: str, part: Path, architecture: str) -> Sequence[str | Path]:
    if shutil.which("mmdebstrap") is None:
        raise DevclusterError(
            "mmdebstrap is not installed.", hint="run `quilt-devcluster build`, which installs it"
        )
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    listed = f"{{\n{LISTING}\n}} > {shlex.quote(str(_listing(part)))}"
    # What was installed first is listed at the end with the rest.
    variant = ["--variant=essential", "--skip=essential/unlink", f"--customize-hook={listed}"]
    if architecture:
        variant = [
            *("--variant=extract", "--include=?essential", f"--architectures={architecture}"),
            *("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--extract-hook={FOREIGN}"),
            f"--extract-hook={listed}",
        ]
    return [
        "mmdebstrap",
        *variant,
        f"--include={','.join(PACKAGES[kind])}",
        "--mode=root",
        *options,
        codename,
        part,
        *_sources_for(codename),
    ]

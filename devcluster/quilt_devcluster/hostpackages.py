"""Install the Debian packages of the host that a build or a cluster needs, when they are missing.

Programs are looked for, not packages: what another distribution ships under another name counts as present.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run

# Program or file that shows it is there → the Debian package that brings it.
NEEDED: dict[str, str] = {
    "/etc/containers/policy.json": "golang-github-containers-common",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "/usr/include/stdio.h": "libc6-dev",
    "buildah": "buildah",
    "cc": "gcc",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "gpg": "gpg",
    "ip": "iproute2",
    "iptables": "iptables",
    "jq": "jq",
    "mmdebstrap": "mmdebstrap",
    "modprobe": "kmod",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
    "pkg-config": "pkg-config",
    "ps": "procps",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "socat": "socat",
}
# The same for what draws pages. Without a font text would be boxes.
BROWSER = {
    "chromium": "chromium",
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf": "fonts-dejavu-core",
}
# A machine that has just started may be installing its updates.
_WAIT = ("-o", "DPkg::Lock::Timeout=300")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing_packages(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Return the Debian packages of which nothing was found on this host, sorted."""
    absent = set()
    for marker, package in needed.items():
        found = Path(marker).exists() if marker.startswith("/") else shutil.which(marker, path=_SYSTEM_PATH)
        if not found:
            absent.add(package)
    return sorted(absent)


def install_missing(progress: Callable[[str], None], needed: Mapping[str, str] = NEEDED) -> None:
    """Install what `missing_packages` finds. Raises DevclusterError when that needs apt on another system."""
    packages = missing_packages(needed)
    if not packages:
        return
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise DevclusterError(
            f"Missing on this host: {names} (names of Debian packages).",
            hint="install them with this system's package manager",
        )
    progress(f"installing from Debian: {names}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-q"], what="Updating the package lists", env=env)
    except DevclusterError as error:
        # One unreachable third-party source fails the update although Debian's own lists are fresh.
        progress(f"warning: {error.message} Going on with the lists that there are.")
    run(
        ["apt-get", "install", "-q", "-y", *_WAIT, "--no-install-recommends", *packages],
        what=f"Installing {names}",
        hint="look at the output above; `apt-get update` first may help",
        env=env,
    )

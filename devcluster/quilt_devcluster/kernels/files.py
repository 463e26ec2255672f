"""What of this machine a kernel's first file system holds: programs, Python, the project, modules.

Every file keeps the path that it has here, so that nothing has to be configured for another one.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kernels.cpio import Entry, folder, symlink
from quilt_devcluster.shell import run

ROOT_LINKS = ("/bin", "/sbin", "/lib", "/lib64")
"""Where they are links. The kernel asks for modules by /sbin/modprobe."""
# fmt: off
PROGRAMS = (
    "bash", "bridge", "cat", "conntrack", "cp", "curl", "date", "env", "ethtool", "false", "grep", "head",
    "ip", "iptables-nft", "kill", "ls", "mkdir", "modprobe", "mount", "nft", "nsenter", "ping", "rm", "sed",
    "seq", "setpriv", "sh", "sleep", "socat", "ss", "stty", "sysctl", "tail", "timeout", "touch", "tr",
    "true", "umount", "unshare",
)
# fmt: on
SETTINGS = (
    "/etc/group",
    "/etc/hosts",
    "/etc/iproute2",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/usr/share/iproute2",
)
# Loaded by name while a program runs, so no program says that it needs them.
LIBRARIES = ("libgcc_s.so.1",)
IPTABLES = "*/xtables/libxt_*.so"
# fmt: off
DISTRIBUTIONS = (
    "quilt-mesh[agent,runtime]", "pyroute2", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis",
)
# fmt: on
# Of Python's own library: tests, windows, what it was built with, what the virtual environment has.
_UNUSED = re.compile(
    r"(^|/)(tests?|idlelib|lib2to3|tkinter|turtledemo|ensurepip|site-packages|config-|_tkinter)"
)
_MODULE_FOLDERS = ("net", "lib", "crypto", "arch")
_DRIVERS = ("dummy", "ifb", "tun", "veth", "vxlan")


class Tree:
    """Entries by path: each file with the folders and the symbolic links that lead to it, once."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def entries(self) -> list[Entry]:
        """Return all, each after the folder that it is in."""
        return list(self._entries.values())

    def add(self, source: Path, at: Path | None = None) -> None:
        """Add a file or link of this machine, and where a link leads, at its own path or another one."""
        target = self._folders(Path(os.path.normpath(at or source)))
        if str(target) in self._entries:
            return
        if source.is_symlink():
            leads = str(source.readlink())
            self._put(symlink(str(target), leads))
            self.add(source.parent / leads)
        elif source.is_file():
            status = source.stat()
            mode = stat.S_IFREG | stat.S_IMODE(status.st_mode)
            self._put(Entry(str(target), mode, source.read_bytes(), int(status.st_mtime)))

    def add_tree(self, source: Path, at: Path | None = None) -> None:
        """Add all files of a folder that a program may want, or the one file that it is."""
        if not source.is_dir():
            self.add(source, at)
            return
        for file in _files(source):
            self.add(file, (at or source) / file.relative_to(source))

    def add_folder(self, path: str) -> None:
        """Add an empty folder."""
        self._put(folder(str(self._folders(Path(path)))))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Add a file of this text."""
        target = self._folders(Path(path))
        self._put(Entry(str(target), stat.S_IFREG | mode, text.encode()))

    def _put(self, entry: Entry) -> None:
        self._entries[entry.path] = replace(entry, path=entry.path.lstrip("/"))

    def _folders(self, path: Path) -> Path:
        """Add what leads to a path; return the path without symbolic links on the way."""
        here = Path("/")
        for part in path.parts[1:-1]:
            step = here / part
            if step.is_symlink():
                leads = str(step.readlink())
                if str(step) not in self._entries:
                    self._put(symlink(str(step), leads))
                return self._folders(Path(os.path.normpath(here / leads / path.relative_to(step))))
            if str(step) not in self._entries:
                self._put(folder(str(step)))
            here = step
        return here / path.name


def _files(source: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(source):
        folders.sort()
        yield from (Path(base) / name for name in sorted(names))


def userland(project: Path) -> Tree:
    """Return programs with their libraries, Python with what the tests import, and the project's sources."""
    tree = Tree()
    for link in ROOT_LINKS:
        tree.add(Path(link))
    files = [*map(_program, PROGRAMS), Path(os.path.realpath(sys.executable))]
    for name in PROGRAMS:
        tree.add(_program(name))
    for setting in map(Path, SETTINGS):
        if setting.exists():
            tree.add_tree(setting)
    for extension in sorted(Path("/usr/lib").glob(IPTABLES)):
        tree.add(extension)
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = [file for file in _files(stdlib) if not _UNUSED.search(str(file.relative_to(stdlib)))]
    python += [file for item in closure(DISTRIBUTIONS) for file in _installed(item)]
    for file in [*python, *_environment()]:
        tree.add(file)
    for name in (*_packages(project), "tests", "pyproject.toml"):
        # There it would take ten times as long, in each process again.
        compileall.compile_dir(project / name, quiet=2)
        tree.add_tree(project / name)
    shared = [file for file in python if re.search(r"\.so[.\d]*$", file.name)]
    for library in _libraries([*files, *shared]):
        tree.add(library)
    return tree


def _program(name: str) -> Path:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise DevclusterError(f"The program {name} is not installed.", hint="run `make setup`")
    return Path(found)


def _packages(project: Path) -> list[str]:
    """Return the folders that the environment's `.pth` names: those of the packages."""
    build = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    found: list[str] = build["dev-mode-dirs"]
    return found


def _environment() -> list[Path]:
    """Return the virtual environment's own files."""
    prefix = Path(sys.prefix)
    site = Path(sysconfig.get_path("purelib"))
    pythons = sorted((prefix / "bin").glob("python*"))
    return [*pythons, prefix / "bin" / "pytest", prefix / "pyvenv.cfg", *sorted(site.glob("*quilt*.pth"))]


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """Return the installed distributions that these need, themselves included."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        try:
            item = distribution(wanted.name)
        except PackageNotFoundError as error:
            raise DevclusterError(
                f"{wanted.name} is not installed beside the devcluster.", hint="run `make setup`"
            ) from error
        found[item.name] = item
        for need in map(Requirement, item.requires or ()):
            extras = [*wanted.extras, ""]
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(need)
    return list(found.values())


def _installed(item: Distribution) -> list[Path]:
    site = Path(sysconfig.get_path("purelib"))
    files = [Path(os.path.normpath(str(file.locate()))) for file in item.files or ()]
    return [file for file in files if file.is_relative_to(site)]


def _libraries(files: Sequence[Path]) -> list[Path]:
    """Return the shared libraries that programs and libraries say they need."""
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    found = set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", done.stdout, re.MULTILINE))
    cache = run(["ldconfig", "-p"], what="Looking for shared libraries")
    for name in LIBRARIES:
        found |= set(re.findall(rf"{re.escape(name)} .*x86-64.* => (/\S+)", cache))
    return sorted(map(Path, found))


def modules(root: Path, version: str) -> Tree:
    """Return a kernel's modules that the tests may want, with what modprobe looks them up in."""
    tree = Tree()
    base = next(path for path in (root / "lib/modules", root / "usr/lib/modules") if path.is_dir()) / version
    # modprobe's indexes are made for what lies below `root`, once.
    run(["depmod", "-b", base.parents[2], version], what=f"Listing the modules of {version}")
    drivers = base / "kernel" / "drivers" / "net"
    found = [drivers / "vxlan", *(file for name in _DRIVERS for file in drivers.glob(f"{name}.ko*"))]
    found += [base / "kernel" / name for name in _MODULE_FOLDERS]
    for path in [*found, *base.glob("modules.*")]:
        tree.add_tree(path, Path("/lib/modules") / version / path.relative_to(base))
    return tree

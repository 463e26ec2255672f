"""Run the kernel tests on the kernels of the plan, two machines at a time, and tell what they came to."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster import binaries, hostpackages, paths
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kernels import cpio, files, packages, results
from quilt_devcluster.kernels.machine import PROGRAM, Machine
from quilt_devcluster.kernels.packages import KernelFiles
from quilt_devcluster.kernels.plan import Choice, OtherKernel, choose, named, read_plan
from quilt_devcluster.kernels.results import Outcome
from quilt_devcluster.shell import run

Progress = Callable[[str], None]
AT_ONCE = 2
TIMEOUT = 10800.0
"""Seconds for a machine: three times the time that it needs, for a computer that does other work too."""
PATIENCE = 10
"""How many times as long as here an event may be waited for in there."""
ALL, SHORT = "kernel", "kernel(short=True)"
INIT = paths.ASSETS / "kernel-init.sh"
NEEDED = {PROGRAM: "qemu-system-x86", "depmod": "kmod"}
SETTINGS, CHOSEN = "/etc/quilt-tests", "/etc/quilt-tests-chosen"
HOME = "/root"
MOUNT_POINTS = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp")  # noqa: S108 - made, not used
_ENDED_WELL = (0, 5)  # 5: nothing was collected


def plan_file(project: Path) -> Path:
    """Return where the kernels and what they lack are listed."""
    return project / "tests" / "kernels.toml"


@dataclass(frozen=True, slots=True)
class Userland:
    """What every machine has beside its kernel's modules: the files, the project among them, the plugin."""

    tree: files.Tree
    project: Path
    plugin: Path


def run_all(names: Sequence[str], progress: Progress, *, short: bool) -> list[tuple[OtherKernel, Outcome]]:
    """Run the marked tests on the kernels with these names (none: all, or those of the short choice)."""
    project = paths.project_root()
    if hidden := next((path for path in MOUNT_POINTS if project.is_relative_to(path)), None):
        raise DevclusterError(
            f"The project is in {hidden}, where the machines mount something else.",
            hint="clone it to another place",
        )
    hostpackages.install_missing(progress, NEEDED)
    known = read_plan(plan_file(project).read_text())
    kernels = [kernel for kernel in named(known, names) if names or not short or kernel.short]
    marked = collect(project, ALL)
    collected = collect(project, SHORT) if short else marked
    choices = [choose(kernel, collected, marked) for kernel in kernels]
    found = [packages.ensure_kernel(kernel.series, kernel.release, progress) for kernel in kernels]
    userland = _userland(project)

    def one(kernel: OtherKernel, kept: KernelFiles, choice: Choice) -> tuple[OtherKernel, Outcome]:
        started = time.monotonic()
        progress(f"kernel {kernel.name}: {kept.version} runs {len(choice.run)} tests")
        outcome = _run(kernel, kept, choice, userland)
        progress(f"kernel {kernel.name}: {outcome.passed} passed in {time.monotonic() - started:.0f} s")
        return kernel, outcome

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, kernels, found, choices))


def _run(kernel: OtherKernel, kept: KernelFiles, choice: Choice, userland: Userland) -> Outcome:
    logs = paths.cache_dir() / "log"
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.cache_dir() / "kernels") as scratch:
        initrd, report = Path(scratch) / "initrd", Path(scratch) / "report"
        console = logs / f"kernel-{kernel.name}.log"
        with initrd.open("wb") as sink:
            cpio.write(sink, [*userland.tree.entries(), *_machine_files(kept, choice, userland)])
        machine = Machine(kept.image, initrd, kernel.options, console, report)
        return results.read_report(machine.run(TIMEOUT), kept.version, choice)


def _machine_files(kept: KernelFiles, choice: Choice, userland: Userland) -> list[cpio.Entry]:
    """Return what one machine alone has: modules, the first process, the tests' names."""
    tree = files.modules(kept.root, kept.version)
    for path in (*MOUNT_POINTS, HOME):
        tree.add_folder(path)
    tree.write("/init", INIT.read_text(), 0o755)
    tree.write(CHOSEN, "\n".join(choice.run) + "\n")
    programs = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    settings = {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "PATH": programs,
        "PROJECT": userland.project,
        "QUILT_CNI": userland.plugin,
        "QUILT_TEST_PATIENCE": PATIENCE,
    }
    lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in settings.items()]
    tree.write(SETTINGS, "".join(lines))
    return tree.entries()


def _userland(project: Path) -> Userland:
    plugin = _plugin(project)
    tree = files.userland(project)
    tree.add(plugin)
    return Userland(tree, project, plugin)


def collect(project: Path, marks: str) -> list[str]:
    """Return the names of the tests with these marks, as pytest finds them on this machine."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-m", marks]
    done = subprocess.run([*command, "tests/netns"], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode not in _ENDED_WELL:
        raise DevclusterError("Collecting the kernel tests failed.", output=done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if line.startswith("tests/") and "::" in line]


def _plugin(project: Path) -> Path:
    """Build the CNI plugin as the image does; it is static, so one will do for every kernel."""
    target = paths.cache_dir() / "kernels" / "quilt-cni"
    command = [binaries.go_program(), "build", "-trimpath", "-ldflags=-s -w", "-o", str(target), "."]
    run(command, what="Building quilt-cni", cwd=project / "cni", env={"CGO_ENABLED": "0"})
    return target

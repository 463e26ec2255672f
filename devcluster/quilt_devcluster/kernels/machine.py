"""One virtual machine: a kernel with a first file system, from its start until it powers off."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster.errors import DevclusterError

PROGRAM = "qemu-system-x86_64"
MEMORY = "1500M"
ALWAYS = "console=ttyS0 quiet panic=1 mitigations=off"


@dataclass(frozen=True, slots=True)
class Machine:
    """What to start; `console` and `report` are the files that its two serial ports are written to."""

    image: Path
    initrd: Path
    options: str
    console: Path
    report: Path

    def command(self) -> list[str]:
        """Return qemu's command line, with one processor: the tests wait more than they compute at once."""
        return [
            *(PROGRAM, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEMORY, "-no-reboot"),
            *("-nodefaults", "-display", "none", "-monitor", "none"),
            *("-serial", f"file:{self.console}", "-serial", f"file:{self.report}"),
            *("-kernel", str(self.image), "-initrd", str(self.initrd)),
            *("-append", f"{ALWAYS} {self.options}".strip()),
        ]

    def run(self, timeout: float) -> str:
        """Start it, wait until it is off, and return its report. Raises DevclusterError without one."""
        for file in (self.console, self.report):
            file.unlink(missing_ok=True)
        problem = "ended without a report"
        try:
            done = subprocess.run(
                self.command(), capture_output=True, text=True, timeout=timeout, check=False
            )
            if done.returncode:
                problem = f"ended with {done.returncode}: {done.stderr.strip()}"
        except subprocess.TimeoutExpired:  # which has ended it
            problem = f"was not done within {timeout:.0f} s"
        report = self.report.read_text(errors="replace") if self.report.exists() else ""
        if not report.rstrip().endswith("</testsuites>"):
            raise DevclusterError(
                f"The machine with the kernel {self.image.name} {problem}.",
                hint="read its console",
                log=self.console,
            )
        return report

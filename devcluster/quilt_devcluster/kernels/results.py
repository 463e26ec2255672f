"""What the tests came to on each kernel: counted, as a table, and as the page of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kernels.plan import Choice, OtherKernel


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a kernel's tests; `failed` has the names of those that did not pass."""

    version: str
    passed: int
    failed: tuple[str, ...]
    deselected: int

    @property
    def good(self) -> bool:
        """Whether every test that was to run ran and passed."""
        return not self.failed and self.passed > 0


def read_report(report: str, version: str, choice: Choice) -> Outcome:
    """Count a JUnit report; what was skipped or never ran did not pass. Raises DevclusterError for none."""
    try:
        cases = list(ET.fromstring(report.replace("\r", "")).iter("testcase"))  # noqa: S314 - our own
    except ET.ParseError as error:
        raise DevclusterError(f"The report of kernel {version} is not understood: {error}.") from error
    bad = tuple(sorted({_name(case) for case in cases if any(child.tag in _BAD for child in case)}))
    ran = {_name(case) for case in cases}
    missing = len(choice.run) - len(ran)
    never = (f"{missing} tests never ran",) if missing > 0 else ()
    return Outcome(version, len(ran) - len(bad), (*bad, *never), len(choice.deselected))


_BAD = ("failure", "error", "skipped")


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"


def table(outcomes: Iterable[tuple[OtherKernel, Outcome]], before: str = "") -> str:
    """Return the counts as a table in Markdown; what did not run now keeps its row of the text `before`."""
    found = {line.split(" ")[1]: line for line in before.splitlines() if line.startswith("| ")}
    for kernel, outcome in outcomes:
        version = f"{outcome.version} `{kernel.options}`" if kernel.options else outcome.version
        counts = f"{outcome.passed} | {len(outcome.failed)} | {outcome.deselected}"
        found[kernel.name] = f"| {kernel.name} | {version} | {counts} |"
    rows = [found[name] for name in sorted(found, key=_numbers) if name not in ("kernel", "---")]
    return "\n".join([*_HEAD, *rows]) + "\n"


_HEAD = ("| kernel | version | passed | failed | deselected |", "| --- | --- | ---: | ---: | ---: |")


def _numbers(name: str) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", name.partition("-")[0])], name


def complaint(outcomes: Iterable[tuple[OtherKernel, Outcome]]) -> str:
    """Return what did not pass where, empty when all did."""
    bad = [(kernel, outcome) for kernel, outcome in outcomes if not outcome.good]
    return "\n".join(
        f"Kernel {kernel.name}: {', '.join(outcome.failed) or 'no test ran'}." for kernel, outcome in bad
    )


def page(
    plan: Sequence[OtherKernel], outcomes: Sequence[tuple[OtherKernel, Outcome]], before: str = ""
) -> str:
    """Return the page of the documentation: counts, and what each kernel of the plan lacks.

    `before` is the page as it is: kernels that did not run now keep their counts.
    """
    return PAGE.format(table=table(outcomes, before), lacks=lacks(plan))


def lacks(kernels: Iterable[OtherKernel]) -> str:
    """Return what each kernel lacks, and the tests left out for it, in Markdown."""
    return "\n".join(
        f"**{kernel.name}**: {lack.reason}\n\n"
        + "".join(f"- `{name.removeprefix('tests/netns/')}`\n" for name in lack.tests)
        for kernel in kernels
        for lack in kernel.lacks
    )


PAGE = """\
# Other kernels

Written by `make kernels`, which runs the tests of dataplane, runtime and CNI that are marked `kernel` on
kernels of Debian in virtual machines. A test that needs what a kernel lacks is left out by its name
(`tests/kernels.toml`), never skipped. One machine needs some 20 minutes of a processor:
`quilt-devcluster kernels --page docs/kernels.md NAME` runs one kernel and leaves the other rows.

{table}
## What they lack

{lacks}"""

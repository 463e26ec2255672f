"""Which kernels are tested, and which tests each of them runs: `tests/kernels.toml`, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quilt_devcluster.errors import DevclusterError


@dataclass(frozen=True, slots=True)
class Lack:
    """What a kernel lacks, and the tests that need it, each by its name with or without parameters."""

    reason: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OtherKernel:
    """A kernel: of a Debian `release`, started with `options` on its command line.

    `series` are the first two numbers of its version, `name` is unique.
    """

    name: str
    series: str
    release: str
    options: str = ""
    short: bool = False
    lacks: tuple[Lack, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The tests that a kernel runs, and those that it does not, both as pytest names them."""

    run: tuple[str, ...]
    deselected: tuple[str, ...]


def read_plan(text: str) -> list[OtherKernel]:
    """Read the kernels from TOML, in its order. Raises DevclusterError where it is not as it should be."""
    try:
        tables = tomllib.loads(text)["kernel"]
        return [
            OtherKernel(
                name,
                table["series"],
                table["release"],
                table.get("options", ""),
                table.get("short", False),
                tuple(Lack(lack["reason"], tuple(lack["tests"])) for lack in table.get("lacks", ())),
            )
            for name, table in tables.items()
        ]
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
        raise DevclusterError(
            f"The list of kernels is not understood: {error!r}.",
            hint="a kernel has `series` and `release`, a lack has `reason` and `tests`",
        ) from error


def named(kernels: Iterable[OtherKernel], names: Sequence[str]) -> list[OtherKernel]:
    """Return the kernels of these names, all without any. Raises DevclusterError for a name of none."""
    known = {kernel.name: kernel for kernel in kernels}
    for name in names:
        if name not in known:
            raise DevclusterError(f"No kernel is named {name!r}.", hint=f"one of: {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def choose(kernel: OtherKernel, collected: Sequence[str], marked: Sequence[str]) -> Choice:
    """Choose what a kernel runs of the tests in `collected`; `marked` are all that are marked for kernels.

    Raises DevclusterError where a name that the kernel lists is that of no marked test.
    """
    lacking = {name for lack in kernel.lacks for name in lack.tests}
    known = {name for test in marked for name in names_of(test)}
    if gone := sorted(lacking - known):
        raise DevclusterError(
            f"Tests that kernel {kernel.name} is listed as unable to run do not exist: {', '.join(gone)}.",
            hint="rename or remove them in tests/kernels.toml",
        )
    deselected = [test for test in collected if lacking.intersection(names_of(test))]
    run = [test for test in collected if not lacking.intersection(names_of(test))]
    return Choice(tuple(run), tuple(deselected))


def names_of(test: str) -> tuple[str, str]:
    """Return the two names that a test can be listed by: with its parameters and without."""
    return test, test.partition("[")[0]

"""What every benchmark is given: how often to repeat, and a control plane that they share."""

from __future__ import annotations

import compileall
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import click

from bench.controlplane import ControlPlane
from bench.plugins import ROOT


def compile_product() -> None:
    """Compile the product's modules, as in the images: else every start that is measured may do it again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for folder in project["tool"]["hatch"]["build"]["dev-mode-dirs"]:
        compileall.compile_dir(ROOT / folder, quiet=1)


class Bench:
    """One run of benchmarks. `quick` asks for as few repetitions as still show something.

    `only` are names of parts, of a benchmark that can be run in parts.
    """

    def __init__(self, *, quick: bool = False, only: Sequence[str] = ()) -> None:
        self.quick = quick
        self.only = only
        self._stack = ExitStack()
        self._control: ControlPlane | None = None

    def __enter__(self) -> Self:
        compile_product()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def rounds(self, usual: int) -> int:
        """How often to repeat what is usually repeated so often."""
        return max(2, usual // 5) if self.quick else usual

    def seconds(self, usual: float) -> float:
        """How long to do what is usually done so long."""
        return usual / 4 if self.quick else usual

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of some alternatives that are asked for; all where none of them is."""
        names = list(names)
        return [name for name in names if name in self.only] or names

    def control(self) -> ControlPlane:
        """The control plane, started when first asked for."""
        if self._control is None:
            self.say("starting a control plane")
            self._control = self._stack.enter_context(ControlPlane())
        return self._control

    def say(self, text: str) -> None:
        """Tell the person who waits what is going on."""
        click.echo(f"  {text}", err=True)

"""`python -m bench [NAME…]`: run benchmarks, print one table, keep JSON, draw plots, write the page."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from bench.bench import Bench
from bench.result import Result, machine
from bench.show import show

HERE = Path(__file__).parent
# The order in which they run: those with many peers last, as the control plane keeps the claims.
ORDER = ("netlink", "programming", "rpc", "latency", "steady", "churn", "start")


def names() -> list[str]:
    """Every benchmark: those with a place in the order, then the rest."""
    found = {path.stem for path in (HERE / "cases").glob("*.py")} - {"__init__"}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def run(name: str, bench: Bench) -> Result:
    """Run one benchmark and keep its result."""
    click.echo(name, err=True)
    case = importlib.import_module(f"bench.cases.{name}")
    result: Result = case.measure(bench)
    result.name, result.title, result.machine = name, case.TITLE, machine()
    result.method = " ".join((case.__doc__ or "").split())
    return result


@click.command()
@click.argument("chosen", nargs=-1, metavar="[NAME]…")
@click.option("--quick", is_flag=True, help="Few repetitions, and nothing is kept.")
@click.option(
    "--only",
    multiple=True,
    metavar="PART",
    help="Of datapath: only this kind, place or competitor, as its table says; may be given again. "
    "Nothing is kept.",
)
@click.option("--list", "listing", is_flag=True, help="Only tell which benchmarks there are.")
@click.option("--page", is_flag=True, help="Measure nothing, only write the page from what is kept.")
def main(chosen: tuple[str, ...], quick: bool, only: tuple[str, ...], listing: bool, page: bool) -> None:
    """Measure, print one table; keep JSON, plots and docs/performance.md."""
    kept = not quick and not only
    known = names()
    if unknown := set(chosen) - set(known):
        raise click.UsageError(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    if only and chosen != ("datapath",):
        raise click.UsageError("only datapath is run in parts")
    if listing:
        click.echo("\n".join(known))
        return
    if page:
        write_page()
        return
    if os.geteuid():
        sys.exit("The benchmarks make network namespaces: run as root.")
    # Ended from outside, a run removes what it made, too.
    signal.signal(signal.SIGTERM, _interrupt)
    results = []
    with Bench(quick=quick, only=only) as bench:
        for name in known:
            if name in chosen or not chosen:
                results.append(run(name, bench))
                if kept:
                    results[-1].save()
    show(results)
    if kept:
        write_page()


def _interrupt(number: int, frame: FrameType | None, own: int = os.getpid()) -> None:
    """End as by Ctrl-C; what a library forked, and ends so, deletes nothing that was made here."""
    if os.getpid() != own:
        os._exit(128 + number)
    raise KeyboardInterrupt


def write_page() -> None:
    """Write docs/performance.md; without matplotlib, which only this needs, say how to get it."""
    try:
        from bench.page import write
    except ModuleNotFoundError as error:
        sys.exit(f"The page needs {error.name}: `make bench`, or pip install -r requirements-bench.lock")
    write()


if __name__ == "__main__":
    main()

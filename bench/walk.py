"""Which of our files one change passes: `python -m bench.walk [claim] [heartbeat]`, as root.

A claim: from the watch event to the netlink message (`walk_claim.py`). A heartbeat: from the Lease's last
renewal to the published withdrawal (`walk_heartbeat.py`). Both are real programs that note which files
their functions are in. The exit code is 1 when there are more than there may be.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from bench import walk_claim, walk_heartbeat
from bench.walked import FOLDER, ROOT

PAGE = ROOT / "docs/walks.md"
WALKS = {"claim": walk_claim, "heartbeat": walk_heartbeat}
MOST = {"claim": 25, "heartbeat": 15}
"""How many files each may go through."""


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(WALKS)))
@click.option("--page", is_flag=True, help=f"Write {PAGE.relative_to(ROOT)} too; of all walks.")
def main(names: tuple[str, ...], *, page: bool) -> None:
    """Walk, print the files."""
    text, too_many = [], False
    for name in WALKS if page else names or WALKS:
        with tempfile.TemporaryDirectory(prefix="quilt-walk-") as folder:
            os.environ[FOLDER] = folder
            steps = WALKS[name].walk(Path(folder))
        files = len({file for _, file in steps})
        lines = [f"{number:3} {process:8} {file}" for number, (process, file) in enumerate(steps, 1)]
        summary = f"{len(steps)} steps, {files} files (at most {MOST[name]})."
        click.echo("\n".join([f"{name}:", *lines, summary]))
        introduction = (WALKS[name].__doc__ or "").strip()
        text += [f"## {name.capitalize()}", "", introduction, "", "```", *lines, "```", "", summary, ""]
        too_many |= files > MOST[name]
    if page:
        head = ["# Which files a change passes", "", "Written by `python -m bench.walk --page`.", ""]
        PAGE.write_text("\n".join(head + text).rstrip() + "\n")
    sys.exit(too_many)


if __name__ == "__main__":
    main()

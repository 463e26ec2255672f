"""How big the product is, beside an earlier commit, and what exceeds a limit of the house.

    python scripts/sizes.py             the sizes of now, beside those of F_END
    python scripts/sizes.py --check     exit 1 when a file or a function is too long, or a part too big

Lines are lines of files; statements are what Python or Go executes, whatever the layout. Generated code and
tests do not count.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
F_END = "f3971f9"
"""The last commit before parts were moved."""
PRODUCT = (
    "crds", "delta", "kube", "policy", "proto", "netlink",
    "operator", "nodeagent", "multicast", "probes", "runtime", "cli", "cni",
)  # fmt: skip
BESIDE = ("devcluster", "release", "bench", "scripts", "demo")
LONGEST_FILE, LONGEST_FUNCTION = 300, 40
MOST = {"nodeagent": 4500, "netlink": 3000}
ASKING, MOST_ASKING = (
    (
        "kube/quilt_kube/*.py",
        "crds/quilt_crds/wire*.py",
        "crds/quilt_crds/conditions.py",
        "operator/quilt_operator/api/client.py",
        "operator/quilt_operator/api/following.py",
        "operator/quilt_operator/api/leases.py",
        "operator/quilt_operator/claim_watch.py",
        "nodeagent/quilt_nodeagent/api/*.py",
        "cli/quilt_cli/api/*.py",
        "cli/quilt_cli/core/objects.py",
        "cli/quilt_cli/core/snapshot.py",
    ),
    1200,
)
"""Clients, watches and models of Kubernetes objects, and how many lines they may have together."""
FEWER_LINES, FEWER_STATEMENTS = 3000, 0.08


@dataclass(slots=True)
class Size:
    """What a folder holds, and what in it is longer than it may be (with its length)."""

    files: int = 0
    lines: int = 0
    statements: int = 0
    long: list[str] = field(default_factory=list)


def main() -> int:
    """Command line; answers the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="exit 1 when something exceeds a limit")
    parser.add_argument("--since", default=F_END, help=f"the commit to compare with (default: {F_END})")
    options = parser.parse_args()
    now = {part: measured(ROOT, part) for part in (*PRODUCT, *BESIDE)}
    if options.check:
        return check(now)
    with tempfile.TemporaryDirectory(prefix="quilt-sizes-") as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", options.since], stdout=subprocess.PIPE, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
            tree.extractall(folder, filter="data")
        then = {part: measured(Path(folder), part) for part in (*PRODUCT, *BESIDE)}
    show(now, then, options.since)
    return 0


def measured(root: Path, part: str) -> Size:
    """Return the size of a folder; nothing where it does not exist."""
    size = Size()
    for path in sources(root / part):
        text = path.read_text()
        lines = text.count("\n")
        size.files += 1
        size.lines += lines
        name = path.relative_to(root)
        if lines > LONGEST_FILE:
            size.long.append(f"{name}: {lines} lines")
        if path.suffix == ".py":
            tree = ast.parse(text)
            size.statements += sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
            size.long += [f"{name}: {found}" for found in long_functions(tree)]
        else:
            size.statements += sum(bool(line.strip(" \t{}()")) for line in text.splitlines())
    return size


def sources(folder: Path) -> Iterator[Path]:
    """Return the files of a folder that people write."""
    for path in sorted(folder.rglob("*")):
        generated = path.stem.endswith(("_pb2", "_pb2_grpc"))
        if path.suffix in (".py", ".go", ".c") and not generated and not path.name.endswith("_test.go"):
            yield path


def long_functions(tree: ast.Module) -> Iterator[str]:
    """Return the functions that are longer than they may be."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{node.name} has {length} lines"


def asking() -> int:
    """Return the lines of what asks Kubernetes and models its objects."""
    paths = {path for pattern in ASKING for path in ROOT.glob(pattern)}
    return sum(path.read_text().count("\n") for path in paths)


def asking_line() -> str:
    """Return what `asking` counts, beside its limit."""
    return f"clients, watches and models of Kubernetes objects: {asking()} lines (at most {MOST_ASKING})"


def total(sizes: dict[str, Size]) -> Size:
    """Return the size of the product."""
    parts = [sizes[part] for part in PRODUCT]
    return Size(*(sum(getattr(part, name) for part in parts) for name in ("files", "lines", "statements")))


def show(now: dict[str, Size], then: dict[str, Size], since: str) -> None:
    """Print the table, and what is too long."""
    write = sys.stdout.write
    write(f"{'':12}{'files':>7}{'lines':>8}{'then':>8}{'statements':>12}{'then':>8}   (then: {since})\n")
    rows = [(part, now[part], then[part]) for part in PRODUCT]
    rows += [("product", total(now), total(then)), *((part, now[part], then[part]) for part in BESIDE)]
    for name, new, old in rows:
        write(f"{name:12}{new.files:7}{new.lines:8}{old.lines:8}{new.statements:12}{old.statements:8}\n")
    new, old = total(now), total(then)
    share = 1 - new.statements / old.statements
    write(f"\n{old.lines - new.lines} lines fewer (at least {FEWER_LINES}), ")
    write(f"{100 * share:.1f} % of the statements fewer (at least {100 * FEWER_STATEMENTS:.0f} %)\n")
    for part, most in MOST.items():
        write(f"{part}: {now[part].lines} lines (at most {most})\n")
    write(f"{asking_line()}\n")
    for found in (found for size in now.values() for found in size.long):
        write(f"too long: {found}\n")


def check(now: dict[str, Size]) -> int:
    """Exit code of `--check`; says what is too big."""
    found = [found for part in PRODUCT for found in now[part].long]
    found += [f"{part}: {now[part].lines} lines" for part, most in MOST.items() if now[part].lines > most]
    if asking() > MOST_ASKING:
        found.append(asking_line())
    for line in found:
        sys.stderr.write(f"too long: {line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The faults that use of the product has shown, and the tests that keep them fixed.

    python scripts/faults.py            write docs/faults.md from the tests' docstrings
    python scripts/faults.py --check    exit 1 when it is out of date or a row has no test
    python scripts/faults.py before     run them as of then over the code from before they were fixed

A test that holds a fault begins its docstring with the fault's id, as in `t4: A prepared node is Pending`.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/faults.md")
# The last commit before the faults were fixed, and the one after which tests follow code that moves.
BEFORE, FIXED = "f9ccd39", "f3971f9"
IDS = (
    *(f"t{number}" for number in range(1, 29)),
    *(f"s{number}" for number in range(1, 12)),
    *(f"u{number}" for number in range(1, 12)),
    *("u13", "u14"),
    *(f"D{number}" for number in range(1, 16)),
)
# What `before` reads from FIXED: the tests and what they run on. All else is the old commit's.
TESTS = ("tests", "devcluster", "pyproject.toml")
PACKAGES = ("crds", "proto", "netlink", "operator", "nodeagent", "runtime", "cli", "devcluster")
_DOCSTRING = re.compile(r"((?:[tsuD]\d+)(?:, [tsuD]\d+)*): (.+)", re.DOTALL)
_HEAD = """\
# Faults that stay fixed

Generated from the tests by `python scripts/faults.py`. Each row was a fault once: shown on the running
product, read in its code, reported by users of other pod networks, or (D) found in documents and packaging.
The second column says what happens now. Tests of t, s and u fail on the code from before, over which
`python scripts/faults.py before` runs them.

| id | what happens now | test |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A test that keeps a fault fixed; `node` is its class, where it has one, and its name."""

    fault: str
    now: str
    path: Path
    node: str


def held_faults(root: Path = ROOT) -> list[Held]:
    """Return all tests whose docstring names a fault, by fault, file and place in the file."""
    found = [held for path in sorted((root / "tests").rglob("*.py")) for held in _in_file(path, root)]
    unknown = sorted({held.fault for held in found} - set(IDS))
    if unknown:
        raise SystemExit(f"Tests name faults that are not known: {', '.join(unknown)}")
    return sorted(found, key=lambda held: IDS.index(held.fault))


def _in_file(path: Path, root: Path) -> Iterator[Held]:
    for owner, function in _functions(ast.parse(path.read_text())):
        match = _DOCSTRING.fullmatch(ast.get_docstring(function) or "")
        if match and function.name.startswith("test_"):
            now = " ".join(match[2].split("\n\n")[0].split())
            for fault in match[1].split(", "):
                yield Held(fault, now, path.relative_to(root), owner + function.name)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for item in tree.body:
        if isinstance(item, ast.ClassDef):
            for inner in item.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{item.name}::", inner
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "", item


def page(held: Iterable[Held]) -> str:
    """Return the text of docs/faults.md."""
    rows = (
        f"| {one.fault} | {one.now.replace('|', '&#124;')} | "
        f"[{one.node.rpartition('::')[2]}](../{one.path.as_posix()}) |\n"
        for one in held
    )
    return _HEAD + "".join(rows)


def missing(held: Iterable[Held]) -> list[str]:
    """Return the ids of faults that no test holds."""
    covered = {one.fault for one in held}
    return [fault for fault in IDS if fault not in covered]


def check(held: Sequence[Held]) -> int:
    """Exit code of `--check`; says what is wrong."""
    problems = [f"no test names the fault {fault} in its docstring" for fault in missing(held)]
    target = ROOT / PAGE
    if not target.exists() or target.read_text() != page(held):
        problems.append(f"{PAGE} is out of date; run: python scripts/faults.py")
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1 if problems else 0


def before(kinds: Sequence[str], ids: Sequence[str]) -> int:
    """Run the tests over the packages of BEFORE, print how each ends; 1 when one does not fail there."""
    with tempfile.TemporaryDirectory(prefix="quilt-before-") as folder:
        tree, fixed = Path(folder) / "tree", Path(folder) / "fixed"
        with _checked_out(BEFORE, tree), _checked_out(FIXED, fixed):
            _lay(fixed, tree)
            chosen = [
                one
                for one in held_faults(fixed)
                if one.path.parts[1] in kinds and (not ids or one.fault in ids)
            ]
            ends = _run(tree, chosen, Path(folder) / "report.xml")
    sys.stdout.write(f"Tests of {FIXED} over the code of {BEFORE}:\n")
    for one in chosen:
        sys.stdout.write(f"{one.fault:4} {ends.get(_key(one), 'did not run'):24} {one.path}::{one.node}\n")
    counts = Counter(ends.get(_key(one), "did not run") for one in chosen)
    sys.stdout.write(", ".join(f"{count} {end}" for end, count in counts.most_common()) + "\n")
    return 0 if set(counts) <= {"fails"} else 1


@contextmanager
def _checked_out(commit: str, tree: Path) -> Iterator[None]:
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _lay(source: Path, tree: Path) -> None:
    for name in TESTS:
        old, new = tree / name, source / name
        if old.is_dir():
            shutil.rmtree(old)
        if new.is_dir():
            shutil.copytree(new, old, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(new, old)


def _run(tree: Path, chosen: Sequence[Held], report: Path) -> dict[tuple[str, str], str]:
    """Run the chosen tests in `tree`; {(module, test): how it ended}."""
    if not chosen:
        return {}
    path = os.pathsep.join(str(tree / package) for package in PACKAGES)
    nodes = sorted({f"{one.path}::{one.node}" for one in chosen})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"]
    subprocess.run(
        [*command, f"--rootdir={tree}", f"--junit-xml={report}", *nodes],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=sys.stderr,
        check=False,
    )
    ends: dict[tuple[str, str], str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it just now
        key = (case.get("classname", "").rpartition("tests.")[2], case.get("name", "").partition("[")[0])
        end = _end(case)
        # Of a test with parameters one that fails is enough: the others may show what was right before.
        ends[key] = "fails" if "fails" in (end, ends.get(key)) else end
    return ends


def _end(case: ET.Element) -> str:
    """How a test ended: it `fails` by an assertion of its own, `breaks` by something else, or passes."""
    failure, error = case.find("failure"), case.find("error")
    if failure is not None:
        message = failure.get("message", "")
        asserted = re.match(r"(AssertionError|assert |Failed: )", message)
        return "fails" if asserted else f"breaks: {message.partition(':')[0]}"
    if error is not None:
        return "breaks"
    return "skipped" if case.find("skipped") is not None else "passes"


def _key(one: Held) -> tuple[str, str]:
    owner, _, name = one.node.rpartition("::")
    module = ".".join(one.path.with_suffix("").parts[1:])
    return (f"{module}.{owner}" if owner else module, name)


def main() -> int:
    """Command line; answers the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is amiss")
    commands = parser.add_subparsers(dest="command")
    old = commands.add_parser("before", help="run the tests over the old code")
    old.add_argument("ids", nargs="*", help="faults (default: all)")
    old.add_argument(
        "--kinds", nargs="+", default=["unit", "netns", "cluster"], choices=["unit", "netns", "cluster"]
    )
    options = parser.parse_args()
    if options.command == "before":
        return before(options.kinds, options.ids)
    held = held_faults()
    if options.check:
        return check(held)
    (ROOT / PAGE).write_text(page(held))
    for fault in missing(held):
        sys.stderr.write(f"no test names the fault {fault} in its docstring\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

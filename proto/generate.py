"""Generate the typed gRPC stubs in quilt_proto from the .proto sources: `python proto/generate.py [--check]`.

With --check nothing is written; the exit code is 1 where the committed stubs differ from the sources.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).parent
PACKAGE = "quilt_proto"


def generate(out: Path) -> dict[str, str]:
    """Run protoc over every source and return {file name: text} of what it made under `out`."""
    sources = sorted(str(path) for path in (HERE / "quilt").glob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    # The virtual path makes the generated modules import each other as quilt_proto.X.
    arguments = ["protoc", f"-I{PACKAGE}={HERE / 'quilt'}", f"-I{well_known}"]
    arguments += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(arguments + sources) != 0:
        raise SystemExit("protoc failed; its message is above")
    return {path.name: path.read_text() for path in sorted((out / PACKAGE).iterdir())}


def main() -> int:
    """Write the stubs, or with --check say which are stale."""
    target = HERE / PACKAGE
    with tempfile.TemporaryDirectory() as scratch:
        made = generate(Path(scratch))
    kept = {"__init__.py", "py.typed"}
    present = {
        path.name: path.read_text() for path in target.iterdir() if path.is_file() and path.name not in kept
    }
    if made == present:
        return 0
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in made.keys() | present.keys() if made.get(name) != present.get(name))
        print(f"stale: {', '.join(stale)}; run `make generate`", file=sys.stderr)  # noqa: T201
        return 1
    for name in present.keys() - made.keys():
        (target / name).unlink()
    for name, text in made.items():
        (target / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

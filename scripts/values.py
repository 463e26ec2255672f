"""What the chart's values are documented by: the comments of helm/quilt-mesh/values.yaml.

    python scripts/values.py            write the chart's README.md and the table in docs/configuration.md
    python scripts/values.py --check    exit 1 when one of them is out of date

The comment above a value is its description; that above a section introduces its table. Chart.yaml gets the
icon as well, since an archive of the chart must show it without a server, and the version of pyproject.toml.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = Path("helm/quilt-mesh")
PAGE = Path("docs/configuration.md")
BEGIN, END = "<!-- values: made by scripts/values.py -->\n", "<!-- end of values -->\n"


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its path (`image.tag`), its default as YAML or JSON on one line, what it means."""

    path: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """The values below one key of the top level, and what introduces them."""

    name: str
    introduction: str
    values: tuple[Value, ...]


def sections(text: str) -> list[Section]:
    """Return what the text of values.yaml documents; SystemExit names a value without a comment."""
    lines = text.splitlines()
    document = yaml.compose(text)
    found = []
    for key, node in document.value:
        values = tuple(_values(key, node, lines, ""))
        introduction = "" if len(values) == 1 and values[0].path == key.value else _comment(key, lines)
        found.append(Section(key.value, introduction, values))
    silent = [value.path for section in found for value in section.values if not value.meaning]
    if silent:
        raise SystemExit(f"values.yaml: no comment above {', '.join(silent)}")
    return found


def _values(key: yaml.ScalarNode, node: yaml.Node, lines: list[str], above: str) -> Iterator[Value]:
    path = f"{above}{key.value}"
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        for inner, value in node.value:
            yield from _values(inner, value, lines, f"{path}.")
    else:
        yield Value(path, _default(node), _comment(key, lines))


def _default(node: yaml.Node) -> str:
    value = yaml.safe_load(yaml.serialize(node))
    return value if isinstance(value, str) and value else json.dumps(value)


def _comment(key: yaml.ScalarNode, lines: list[str]) -> str:
    """The comment lines directly above a key, as one."""
    at = first = key.start_mark.line
    while first and lines[first - 1].strip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("# ") for line in lines[first:at])


def table(values: Iterator[Value] | tuple[Value, ...]) -> str:
    """Return a Markdown table; a pipe within a cell is written so that it stays there."""
    cells = ((f"`{value.path}`", f"`{value.default}`", value.meaning) for value in values)
    rows = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in cells]
    return "| value | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def readme(found: list[Section], head: str) -> str:
    """Return the chart's README: what files/readme-head.md holds, then one table for each section."""
    parts = [head]
    for section in found:
        introduction = f"{section.introduction}\n\n" if section.introduction else ""
        parts.append(f"\n### {section.name}\n\n{introduction}{table(section.values)}")
    return "".join(parts)


def page(found: list[Section], text: str) -> str:
    """Return configuration.md with one table of all values between its markers."""
    values = table(value for section in found for value in section.values)
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{values}{END}{rest.split(END)[1]}"


def chart(text: str, icon: bytes, version: str) -> str:
    """Return Chart.yaml with the icon and the version in it."""
    lines = {
        "icon": f"data:image/svg+xml;base64,{base64.b64encode(icon).decode()}",
        "version": version,
        "appVersion": f'"{version}"',
    }
    pattern = r"^(icon|version|appVersion): .*$"
    return re.sub(pattern, lambda line: f"{line[1]}: {lines[line[1]]}", text, flags=re.MULTILINE)


def wanted(root: Path = ROOT) -> dict[Path, str]:
    """What every generated file should hold."""
    folder = root / CHART
    found = sections((folder / "values.yaml").read_text())
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    described, icon = (folder / "Chart.yaml").read_text(), (folder / "icon.svg").read_bytes()
    return {
        folder / "README.md": readme(found, (root / "scripts/chart-readme.md").read_text()),
        folder / "Chart.yaml": chart(described, icon, version),
        root / PAGE: page(found, (root / PAGE).read_text()),
    }


def main() -> int:
    """Command line; answers the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a file is out of date"
    )
    options = parser.parse_args()
    stale = {path: text for path, text in wanted().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if options.check:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date; run: python scripts/values.py\n")
        else:
            path.write_text(text)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())

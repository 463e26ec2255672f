"""Print the requirements of some extras of a pyproject.toml: `requirements.py pyproject.toml node operator`.

An image installs them in a layer below the code, which pip alone cannot do: it only installs dependencies
together with what depends on them. Extras that name other extras of the same project are followed.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Return the sorted requirements of the table `project` with these `extras`."""
    own = re.compile(rf"{re.escape(project['name'])}\[([^]]*)\]")
    found = set(project.get("dependencies", ()))
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            if nested := own.fullmatch(requirement):
                waiting += [name.strip() for name in nested[1].split(",")]
            else:
                found.add(requirement)
    return sorted(found)


if __name__ == "__main__":
    table = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
    print("\n".join(requirements(table, sys.argv[2:])))

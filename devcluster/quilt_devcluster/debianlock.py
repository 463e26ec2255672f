"""The packages of Debian that a release is made of, as a file of the commit lists them.

Debian's archive has the newest packages alone. A release of a commit whose list is older would have other
digests than it had before: it is refused, in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster.errors import DevclusterError

_HEAD = """\
# What a release is made of: package, version, architecture, sha256 of its .deb.
# Written by `make debian-lock`; docs/release.md says what for.
"""
_RELEASE = "Debian "


@dataclass(frozen=True, slots=True)
class Lock:
    """A release of Debian by its code name, and lines of (package, version, architecture, sha256)."""

    codename: str
    packages: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read the file that `text` wrote."""
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        return cls(lines[0].removeprefix(_RELEASE), frozenset(lines[1:]))

    def text(self) -> str:
        """Return what the file has in it."""
        return f"{_HEAD}{_RELEASE}{self.codename}\n" + "".join(f"{line}\n" for line in sorted(self.packages))

    def check(self, packages: Iterable[str]) -> None:
        """Raise DevclusterError where one of the packages, given as lines, is not as in this list."""
        if others := list(self._others(packages)):
            raise DevclusterError(
                f"Debian's archive has other packages than the release's list: {'; '.join(others)}.",
                hint="`make debian-lock` lists today's, or take them from an archive of the list's date, "
                "or release what there is by ANY_PACKAGES=1, with other digests: docs/release.md",
            )

    def _others(self, packages: Iterable[str]) -> Iterator[str]:
        known = {(name, of): (version, file) for name, version, of, file in map(str.split, self.packages)}
        for line in sorted(set(packages) - self.packages):
            name, version, of, _ = line.split()
            was, _ = known.get((name, of), ("not listed", ""))
            yield f"{name} for {of} is {version}, was {was if was != version else 'another file'}"

"""Layers of an image without what differs from build to build, and what is found in them on the way."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import Parser
from typing import IO

from quilt_devcluster import roots
from quilt_devcluster.binaries import go_program
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run
from release.sbom import Package, pypi

ELF = b"\x7fELF"
# e_machine, 16 bits at offset 18 of a file (man 5 elf), as little-endian machines write it.
_MACHINES = {62: "amd64", 183: "arm64"}
_METADATA = re.compile(r"(?:^|/)[^/]+\.dist-info/METADATA$")
_STATUS = "var/lib/dpkg/status"
_GO_PROGRAMS = "opt/quilt/cni/"
# Attributes that a file system keeps, capabilities of programs among them; other extensions are times.
_KEPT = "SCHILY.xattr."
# Of every file, in seconds of 1970. Not the commit's time, so that what did not change is the same layer in
# the next release; nor the own time of a file, which may lie in a cache since before the commit.
TIME = int(roots.EPOCH["SOURCE_DATE_EPOCH"])


@dataclass(slots=True)
class Contents:
    """What an image for `architecture` has in it: packages, and the number of programs and libraries."""

    architecture: str
    packages: set[Package] = field(default_factory=set)
    binaries: int = 0

    def look(self, name: str, content: bytes) -> None:
        """Take note of a file. Raises DevclusterError for a program of another architecture."""
        if content.startswith(ELF):
            self._binary(name, content)
        elif name == _STATUS:
            self.packages |= set(debian(content.decode()))
        elif _METADATA.search(name):
            headers = Parser().parsestr(content.decode(), headersonly=True)
            self.packages.add(pypi(headers["Name"], headers["Version"]))

    def _binary(self, name: str, content: bytes) -> None:
        machine = _MACHINES.get(int.from_bytes(content[18:20], "little"), "another architecture")
        if machine != self.architecture:
            raise DevclusterError(f"/{name} in the image for {self.architecture} is for {machine}.")
        self.binaries += 1
        if name.startswith(_GO_PROGRAMS):
            self.packages |= set(go_modules(content))


def debian(status: str) -> Iterator[Package]:
    """Yield the packages of the text of dpkg's status file."""
    for paragraph in status.split("\n\n"):
        facts = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", paragraph, re.MULTILINE))
        if facts:
            yield Package("deb", facts["Package"], facts["Version"], facts["Architecture"])


def go_modules(program: bytes) -> Iterator[Package]:
    """Yield the modules that a Go program was built from, Go's standard library among them."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(program)
        file.flush()
        printed = run([go_program(), "version", "-m", file.name], what="Reading the modules of a Go program")
    first, _, rest = printed.partition("\n")
    yield Package("golang", "stdlib", first.rpartition(": go")[2])
    for name, version in re.findall(r"^\t(?:mod|dep)\t(\S+)\t(v\S+)", rest, re.MULTILINE):
        yield Package("golang", name, version)


def rewrite(layer: IO[bytes], target: IO[bytes], contents: Contents) -> None:
    """Write the tar `layer` as `target`: in order of names, all of one time, owners by number."""
    with (
        tarfile.open(fileobj=layer) as source,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as sink,
    ):
        # A hard link comes after the file that it is another name of.
        for member in sorted(source, key=lambda one: (one.islnk(), one.name)):
            content = source.extractfile(member) if member.isreg() else None
            member.mtime = TIME
            member.uname = member.gname = ""
            kept = {key: value for key, value in member.pax_headers.items() if key.startswith(_KEPT)}
            member.pax_headers = kept
            if content is not None:
                contents.look(member.name.removeprefix("./"), content.read())
                content.seek(0)
            sink.addfile(member, content)

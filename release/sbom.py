"""The list of contents (CycloneDX 1.6): every package in every file and image of a release."""

from __future__ import annotations

import json
import re
import uuid
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.source import Source

NAMESPACE = uuid.UUID("2f2a8d0e-9b1c-5f0e-8d5c-6f2f0a4f7a11")
"""Of the lists' serial numbers, which follow from the version and the commit."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package by its purl's parts: `kind` is `deb` (with an `architecture`), `pypi` or `golang`."""

    kind: str
    name: str
    version: str
    architecture: str = ""

    def purl(self) -> PackageURL:
        """Return https://github.com/package-url/purl-spec of it."""
        qualifiers = {"arch": self.architecture} if self.architecture else None
        namespace, _, name = self.name.rpartition("/")
        return PackageURL(
            self.kind, "debian" if self.kind == "deb" else namespace, name, self.version, qualifiers
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or an image of the release, its sha256 in hexadecimal digits, and the packages in it."""

    name: str
    sha256: str
    packages: frozenset[Package] = frozenset()
    image: bool = False


def of_single_file(pex: Path, sha256: str) -> Artifact:
    """Return the artifact that the single file `pex` is, by the wheels that it says to bring."""
    with zipfile.ZipFile(pex) as archive:
        wheels = json.loads(archive.read("PEX-INFO"))["distributions"]
    names = [wheel.split("-")[:2] for wheel in wheels]
    return Artifact(pex.name, sha256, frozenset(pypi(name, version) for name, version in names))


def pypi(name: str, version: str) -> Package:
    """Return a Python package under its normalized name, as purls have it."""
    return Package("pypi", re.sub(r"[-_.]+", "-", name).lower(), version)


def document(source: Source, artifacts: Iterable[Artifact]) -> str:
    """Return the list as JSON text; the same contents give the same text."""
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, f"{source.version} {source.commit}"))
    bom.metadata.timestamp = datetime.fromtimestamp(source.epoch, UTC)
    product = Component(
        name="quilt-mesh",
        version=source.version,
        type=ComponentType.APPLICATION,
        bom_ref=f"quilt-mesh@{source.version}",
    )
    bom.metadata.component = product
    known: dict[Package, Component] = {}
    made = []
    for artifact in sorted(artifacts, key=lambda one: one.name):
        component = _artifact(artifact, source.version)
        for package in artifact.packages - known.keys():
            known[package] = _package(package)
        bom.register_dependency(component, [known[package] for package in sorted(artifact.packages)])
        made.append(component)
    bom.register_dependency(product, made)
    for component in (*made, *(known[package] for package in sorted(known))):
        bom.components.add(component)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _artifact(artifact: Artifact, version: str) -> Component:
    return Component(
        name=artifact.name,
        version=version,
        type=ComponentType.CONTAINER if artifact.image else ComponentType.FILE,
        bom_ref=artifact.name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.sha256)],
    )


def _package(package: Package) -> Component:
    purl = package.purl()
    return Component(
        name=package.name, version=package.version, purl=purl, bom_ref=str(purl), type=ComponentType.LIBRARY
    )

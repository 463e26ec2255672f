"""What differs between two releases of one commit, in words: packages, layers, and the files in them."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from quilt_devcluster import archive
from tests.support.releases import DIGESTS, digests

SHOWN = 20
"""Of each place that differs so many entries are named."""
Entries = dict[str, dict[str, object]]
"""Of an archive: what is known of each entry, by its name."""


def differences(place: str, first: Path, second: Path, folder: Path) -> list[str]:
    """Lines about the files in `first` and `second`, and their images in the registry; `folder` is empty."""
    found = []
    for name in sorted({path.name for path in (*first.iterdir(), *second.iterdir())}):
        one, other = first / name, second / name
        if not (one.exists() and other.exists()):
            found.append(f"{name}: is in one of both alone")
        elif one.read_bytes() != other.read_bytes():
            found += of_files(one, other)
    if (first / DIGESTS).read_text() != (second / DIGESTS).read_text():
        found += _of_images(place, digests(first), digests(second), folder)
    return found


def of_files(one: Path, other: Path) -> list[str]:
    """Lines about two files of one name, of which each has its own content."""
    if one.name.endswith((".whl", ".pex")):
        return _of_entries(one.name, _zipped(one), _zipped(other))
    if one.name.endswith(".tgz"):
        return _of_entries(one.name, packed(one), packed(other))
    if one.name.endswith(".cdx.json"):
        return _of_entries(one.name, _listed(one), _listed(other))
    lines = (set(path.read_text(errors="replace").splitlines()) for path in (one, other))
    return [f"{one.name}: {line}" for line in sorted(set.symmetric_difference(*lines))]


def of_layers(where: str, one: Path, other: Path) -> list[str]:
    """Lines about two images, unpacked by `skopeo copy … dir:` into these folders."""
    layers = []
    for image in (one, other):
        manifest = json.loads((image / "manifest.json").read_text())
        layers.append([layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]])
    found = []
    for number, (left, right) in enumerate(itertools.zip_longest(*layers)):
        if left is None or right is None:
            found.append(f"{where}: layer {number} is in one of both alone")
        elif left != right:
            found += _of_entries(f"{where}: layer {number}", packed(one / left), packed(other / right))
    return found or [f"{where}: the layers are the same, the configuration differs"]


def packed(path: Path) -> Entries:
    """The entries of a tar, compressed or not."""
    found: Entries = {}
    with tarfile.open(path) as content:
        for member in content:
            file = content.extractfile(member) if member.isreg() else None
            found[member.name] = {
                "type": member.type.decode(),
                "mode": f"{member.mode:o}",
                "owner": f"{member.uid}:{member.gid}",
                "time": member.mtime,
                "link": member.linkname,
                "extensions": dict(member.pax_headers),
                "sha256": hashlib.sha256(file.read()).hexdigest() if file else "",
            }
    return found


def _of_images(place: str, first: Mapping[str, str], second: Mapping[str, str], folder: Path) -> list[str]:
    found = []
    for name in sorted(first.keys() & second.keys() - {"quilt-mesh"}):
        for architecture in archive.MACHINES if first[name] != second[name] else ():
            images: list[Path] = []
            for which in (first, second):
                image = folder / f"{name}-{architecture}-{len(images)}"
                pull = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
                wanted = [f"--override-arch={architecture}", f"docker://{place}/{name}@{which[name]}"]
                subprocess.run([*pull, *wanted, f"dir:{image}"], check=True)
                images.append(image)
            if len({(image / "manifest.json").read_bytes() for image in images}) > 1:
                found += of_layers(f"{name} for {architecture}", *images)
    return found


def _zipped(path: Path) -> Entries:
    with zipfile.ZipFile(path) as content:
        return {
            entry.filename: {
                "time": entry.date_time,
                "mode": f"{entry.external_attr >> 16:o}",
                "sha256": hashlib.sha256(content.read(entry)).hexdigest(),
            }
            for entry in content.infolist()
        }


def _listed(path: Path) -> Entries:
    """The components of a list of contents by what they are called."""
    components = json.loads(path.read_text())["components"]
    return {component["bom-ref"]: {"hashes": component.get("hashes")} for component in components}


def _of_entries(where: str, one: Entries, other: Entries) -> list[str]:
    lines = list(_between(where, one, other))
    if not lines:
        return [f"{where}: the same entries, in another order or compressed in another way"]
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"{where}: and {more} more"]


def _between(where: str, one: Entries, other: Entries) -> Iterator[str]:
    for name in sorted(one.keys() | other.keys()):
        left, right = one.get(name), other.get(name)
        if left is None or right is None:
            yield f"{where}: {name} is in the {'second' if left is None else 'first'} alone"
        elif left != right:
            facts = (f"{key} {left[key]} and {right[key]}" for key in left if left[key] != right[key])
            yield f"{where}: {name}: {', '.join(facts)}"

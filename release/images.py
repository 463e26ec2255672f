"""The node and operator images for each architecture: built, written as an OCI layout, pushed by digest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quilt_devcluster import archive, binaries, paths, product, roots
from quilt_devcluster.debianlock import Lock
from quilt_devcluster.shell import fetch
from release import programs
from release.layers import Contents
from release.oci import Descriptor, Layout
from release.sbom import Artifact
from release.source import Source

Progress = Callable[[str], None]


@dataclass(slots=True)
class Images:
    """The layout's folder, the digest of each image's index by target (`node`, `operator`), the contents."""

    layout: Path
    digests: dict[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)


def build(
    source: Source, architectures: Sequence[str], folder: Path, lock: Lock | None, progress: Progress
) -> Images:
    """Build all images, start their programs, and write them as a layout into the empty `folder`.

    Raises DevclusterError where Debian's packages are not those of the `lock`, or a program does not start.
    """
    labels = {
        "org.opencontainers.image.version": source.version,
        "org.opencontainers.image.revision": source.commit,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    layout, images = Layout(folder, source.epoch, labels), Images(folder)
    named: dict[str, Descriptor] = {}
    with binaries.locked(paths.cache_dir() / "build" / ".lock"):
        bases = {name: _bases(name, lock, progress) for name in architectures}
        for target in product.TARGETS:
            built = [
                _one(source, target, name, bases[name], layout, images, progress) for name in architectures
            ]
            named[target] = layout.index(built)
            images.digests[target] = named[target]["digest"]
    layout.finish(named)
    return images


def _bases(architecture: str, lock: Lock | None, progress: Progress) -> dict[str, Path]:
    """Return the roots that images for an architecture are built of and in, by kind."""
    bases = {kind: roots.ensure_root(kind, progress, lock=lock) for kind in ("runtime", "tools")}
    if foreign := _foreign(architecture):
        bases["system"] = roots.ensure_root("runtime", progress, architecture=foreign, lock=lock)
    return bases


def _foreign(architecture: str) -> str:
    return "" if architecture == archive.architecture() else architecture


def _one(
    source: Source,
    target: str,
    architecture: str,
    bases: Mapping[str, Path],
    layout: Layout,
    images: Images,
    progress: Progress,
) -> Descriptor:
    """Build the image of one target for one architecture, and add it to the layout."""
    progress(f"image {target} for {architecture}: building …")
    packed = layout.folder / f"{target}-{architecture}.tar"
    name = f"localhost/quilt-release-{target}-{architecture}:{source.version}"
    product.build_one(source.folder, target, name, bases, packed, _foreign(architecture))
    contents = Contents(architecture)
    described = layout.image(packed, contents)
    packed.unlink()
    progress(f"image {target} for {architecture}: {contents.binaries} programs and libraries are for it")
    with tempfile.TemporaryDirectory(dir=layout.folder) as root:
        programs.unpack(layout.layers(described), Path(root))
        programs.start(target, architecture, Path(root))
    progress(f"image {target} for {architecture}: its programs start")
    found = frozenset(contents.packages)
    label = f"quilt-mesh-{target} linux/{architecture}"
    images.artifacts.append(Artifact(label, described["digest"].removeprefix("sha256:"), found, image=True))
    return described


def push(images: Images, target: str, reference: str, plain_http: bool) -> None:
    """Push one image, all architectures, under the tag `reference` (`registry/quilt-mesh-node:0.1.0`)."""
    insecure = ["--dest-tls-verify=false"] if plain_http else []
    fetch(
        [
            *("skopeo", "copy", "--all", "--preserve-digests", *insecure),
            *(f"oci:{images.layout}:{target}", f"docker://{reference}"),
        ],
        what=f"Pushing {reference}",
        hint="log in by `skopeo login`; a registry without TLS needs PLAIN_HTTP=1",
    )

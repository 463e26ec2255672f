"""`python -m release VERSION REGISTRY`, which is `make release VERSION=… REGISTRY=…`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from quilt_devcluster import archive, binaries, hostpackages, paths
from quilt_devcluster.debianlock import Lock
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.tools import BY_PROGRAM
from release import chart, commandline, debian, images, programs, sbom, sums
from release.source import Source, take

_MARKERS = ("/etc/containers/policy.json", "buildah", "mmdebstrap", "skopeo")
NEEDED = {marker: hostpackages.NEEDED[marker] for marker in _MARKERS}
NEEDED |= {
    program: programs.PACKAGE
    for architecture, program in programs.EMULATORS.items()
    if architecture != archive.architecture()
}


def _say(text: str) -> None:
    click.echo(text, err=True)


def make(
    source: Source,
    registry: str,
    architectures: Sequence[str],
    output: Path,
    plain_http: bool,
    lock: Lock | None,
) -> None:
    """Build everything of a commit, push images and chart, and write all files into the empty `output`.

    The images have Debian's packages as the `lock` lists them; without one, those that there are.
    """
    wheel = commandline.wheel(source, output)
    artifacts = [sbom.Artifact(wheel.name, sums.sha256(wheel))]
    for architecture in architectures:
        _say(f"the command line for {architecture}: building …")
        pex = commandline.single_file(source, wheel, architecture, output)
        artifacts.append(sbom.of_single_file(pex, sums.sha256(pex)))
    with tempfile.TemporaryDirectory(dir=paths.cache_dir(), prefix="release-") as scratch:
        built = images.build(source, architectures, Path(scratch), lock, _say)
        packed = chart.package(source, registry, built.digests, output)
        pushed = []
        for target, digest in built.digests.items():
            reference = f"{registry}/quilt-mesh-{target}:{source.version}"
            images.push(built, target, reference, plain_http)
            pushed.append(f"{reference}@{digest}")
    digest = chart.push(source, packed, registry, plain_http)
    pushed.append(f"{registry}/quilt-mesh:{source.version}@{digest}")
    artifacts += [*built.artifacts, sbom.Artifact(packed.name, sums.sha256(packed))]
    (output / f"quilt-mesh-{source.version}.digests").write_text("\n".join(pushed) + "\n")
    (output / f"quilt-mesh-{source.version}.cdx.json").write_text(sbom.document(source, artifacts))
    sums.write(output)


@click.command()
@click.argument("version")
@click.argument("registry")
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    type=click.Choice(sorted(archive.MACHINES)),
    default=sorted(archive.MACHINES),
    show_default=True,
    help="Whom the images and single files are for.",
)
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
@click.option(
    "--any-packages", is_flag=True, help="Debian's packages need not be those of release/debian.lock."
)
@click.option("--commit", default="HEAD", show_default=True, help="What is released.")
@click.option(
    "--output", default=Path("dist"), show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
def main(
    version: str,
    registry: str,
    architectures: tuple[str, ...],
    plain_http: bool,
    any_packages: bool,
    commit: str,
    output: Path,
) -> None:
    """Release VERSION: push images and chart below REGISTRY (host/path), write files to dist/VERSION."""
    target = output / version
    try:
        hostpackages.install_missing(_say, NEEDED)
        binaries.build(BY_PROGRAM["helm"], _say)
        with tempfile.TemporaryDirectory() as folder:
            source = take(paths.project_root(), commit, version, Path(folder))
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            lock = None if any_packages else Lock.read(source.folder / debian.LOCK)
            make(source, registry, architectures, target, plain_http, lock)
    except DevclusterError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    _say(f"{target}: the files of {version}, made from {source.commit[:12]}")


if __name__ == "__main__":
    main()

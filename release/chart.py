"""The chart as an archive whose values name the release's images by digest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from quilt_devcluster.binaries import program
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run
from release.source import Source, set_time

CHART = Path("helm/quilt-mesh")


def pinned(values: str, registry: str, version: str, digests: Mapping[str, str]) -> str:
    """Return the text of values.yaml, comments included, with images by digest: {"node": "sha256:…", …}.

    Raises DevclusterError where the text has no such values.
    """
    wanted = {"registry": registry, "tag": version, **{f"{name}.digest": digests[name] for name in digests}}
    lines, path = values.splitlines(keepends=True), [""]
    for number, line in enumerate(lines):
        if not (match := re.match(r"( *)(\w+):", line)):
            continue
        path = [*path[: len(match[1]) // 2], match[2]]
        value = wanted.get(".".join(path[1:])) if path[0] == "image" else None
        if value is not None:
            lines[number] = f'{match[0]} "{value}"\n'
    text = "".join(lines)
    image = yaml.safe_load(text)["image"]
    flat = {"registry": image["registry"], "tag": image["tag"]}
    flat |= {f"{name}.digest": image[name].get("digest") for name in digests}
    if flat != wanted:
        raise DevclusterError(f"values.yaml of the chart lacks what a release sets: {wanted}.")
    return text


def package(source: Source, registry: str, digests: Mapping[str, str], output: Path) -> Path:
    """Write the archive into the folder `output` and return its path."""
    chart = source.folder / CHART
    values = chart / "values.yaml"
    values.write_text(pinned(values.read_text(), registry, source.version, digests))
    version = [f"--version={source.version}", f"--app-version={source.version}"]
    run(
        [program("helm"), "package", chart, *version, f"--destination={output}"],
        what="Packing the chart",
        env=source.environment(),
    )
    archive = output / f"quilt-mesh-{source.version}.tgz"
    # The manifest in the registry has the file's time.
    set_time(archive, source.epoch)
    return archive


def push(source: Source, archive: Path, registry: str, plain_http: bool) -> str:
    """Push the archive as `oci://<registry>/quilt-mesh`, tagged with the version; return its digest."""
    insecure = ["--plain-http"] if plain_http else []
    printed = run(
        # The digest is among the messages.
        ["sh", "-c", '"$@" 2>&1', "sh", program("helm"), "push", archive, f"oci://{registry}", *insecure],
        what="Pushing the chart",
        hint="log in by `helm registry login`; a registry without TLS needs PLAIN_HTTP=1",
        env=source.environment(),
    )
    if not (found := re.search(r"^Digest: (sha256:[0-9a-f]{64})$", printed, re.MULTILINE)):
        raise DevclusterError("helm pushed the chart and printed no digest.", output=printed)
    return found[1]

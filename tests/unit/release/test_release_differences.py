"""Where two releases differ is named by file and fact."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

from tests.support.differences import SHOWN, differences, of_layers
from tests.support.releases import DIGESTS


def layer(files: dict[str, bytes], time: int = 0) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), time
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def image(folder: Path, *layers: bytes) -> Path:
    """An image as skopeo writes it with `dir:`."""
    folder.mkdir()
    names = [hashlib.sha256(content).hexdigest() for content in layers]
    for name, content in zip(names, layers, strict=True):
        (folder / name).write_bytes(content)
    listed = [{"digest": f"sha256:{name}"} for name in names]
    (folder / "manifest.json").write_text(json.dumps({"layers": listed}))
    return folder


def test_the_layer_the_file_and_the_fact_are_named(tmp_path: Path) -> None:
    same = layer({"usr/lib/a": b"1"})
    one = image(tmp_path / "one", same, layer({"etc/shadow": b"day 1", "etc/passwd": b""}))
    other = image(tmp_path / "other", same, layer({"etc/shadow": b"day 2", "etc/group": b""}))
    absent, added, changed = sorted(of_layers("node for arm64", one, other))
    assert added == "node for arm64: layer 1: etc/passwd is in the first alone"
    assert absent == "node for arm64: layer 1: etc/group is in the second alone"
    assert changed.startswith("node for arm64: layer 1: etc/shadow: sha256 ")


def test_a_time_alone_is_a_difference_and_not_all_files_are_listed(tmp_path: Path) -> None:
    files = {f"{number:03}": b"" for number in range(SHOWN + 5)}
    images = [image(tmp_path / str(time), layer(files, time)) for time in (1, 2)]
    lines = of_layers("node", *images)
    assert lines[0] == "node: layer 0: 000: time 1 and 2"
    assert lines[SHOWN:] == ["node: layer 0: and 5 more"]


def test_files_of_a_release_are_compared_by_what_is_in_them(tmp_path: Path) -> None:
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / DIGESTS).write_text("registry/quilt-mesh-node:0.1.0@sha256:1\n")
        components = [{"bom-ref": f"pkg:deb/debian/libc6@{name}"}]
        (folder / "a.cdx.json").write_text(json.dumps({"components": components}))
        with zipfile.ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr(zipfile.ZipInfo("module.py"), name)
    (tmp_path / "second" / "SHA256SUMS").touch()
    lines = differences("nowhere", tmp_path / "first", tmp_path / "second", tmp_path / "scratch")
    assert lines[0] == "SHA256SUMS: is in one of both alone"
    assert lines[1:3] == [
        f"a.cdx.json: pkg:deb/debian/libc6@{name} is in the {name} alone" for name in ("first", "second")
    ]
    assert lines[3].startswith("a.whl: module.py: sha256 ")

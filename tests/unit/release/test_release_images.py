"""Images of the same contents have the same digests, whenever and in whatever order they were packed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from quilt_devcluster import DevclusterError
from quilt_devcluster.product import for_foreign
from release.layers import TIME, Contents, debian, rewrite
from release.oci import Layout
from release.sbom import Package

EPOCH = 1_700_000_000
STATUS = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n"
METADATA = "Metadata-Version: 2.1\nName: Rich_Text\nVersion: 15.0.0\n\nName: of no matter\n"
FILES = {
    "usr/bin/tool": b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little"),
    "var/lib/dpkg/status": STATUS.encode(),
    "opt/quilt/lib/python3.11/site-packages/rich_text-15.0.0.dist-info/METADATA": METADATA.encode(),
}


def layer(names: list[str], mtime: int, owner: str) -> io.BytesIO:
    """A layer with FILES in this order, and a hard link before what it links to."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("a-link")
        link.type, link.linkname, link.mtime = tarfile.LNKTYPE, "usr/bin/tool", mtime
        archive.addfile(link)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(FILES[name]), mtime, owner
            info.pax_headers = {"mtime": f"{mtime}.5", "SCHILY.xattr.user.kept": "yes"}
            archive.addfile(info, io.BytesIO(FILES[name]))
    packed.seek(0)
    return packed


def rewritten(packed: io.BytesIO, architecture: str = "amd64") -> tuple[bytes, Contents]:
    target, contents = io.BytesIO(), Contents(architecture)
    rewrite(packed, target, contents)
    return target.getvalue(), contents


def test_a_layer_has_neither_the_builds_times_nor_its_order() -> None:
    first, _ = rewritten(layer(list(FILES), EPOCH + 100, "root"))
    second, _ = rewritten(layer(list(reversed(FILES)), EPOCH + 9000, "somebody"))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [*sorted(FILES), "a-link"]
    assert {member.mtime for member in members} == {TIME}
    assert members[0].pax_headers == {"SCHILY.xattr.user.kept": "yes"}


def test_what_a_cache_had_before_the_commit_is_no_different() -> None:
    before, _ = rewritten(layer(list(FILES), EPOCH - 3600, "root"))
    after, _ = rewritten(layer(list(FILES), EPOCH + 3600, "root"))
    assert before == after


def test_packages_and_programs_are_found_in_layers() -> None:
    _, contents = rewritten(layer(list(FILES), EPOCH, "root"))
    assert contents.binaries == 1
    assert contents.packages == {
        Package("deb", "libc6", "2.36-9", "amd64"),
        Package("pypi", "rich-text", "15.0.0"),
    }


def test_a_program_of_another_architecture_is_refused() -> None:
    with pytest.raises(DevclusterError, match="/usr/bin/tool in the image for arm64 is for amd64"):
        rewritten(layer(list(FILES), EPOCH, "root"), "arm64")


def test_every_paragraph_of_dpkgs_status_is_a_package() -> None:
    found = list(debian(STATUS + STATUS.replace("libc6", "zlib1g")))
    assert [package.name for package in found] == ["libc6", "zlib1g"]


def archive_of(folder: Path, when: int) -> Path:
    """An image as a build writes it."""
    packed = layer(list(FILES), when, "root").getvalue()
    config = {"created": str(when), "config": {"Cmd": ["tool"], "Labels": {"built": str(when)}}, "rootfs": {}}
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": packed,
        "manifest.json": json.dumps([{"Config": "config.json", "Layers": ["layer.tar"]}]).encode(),
    }
    target = folder / "image.tar"
    with tarfile.open(target, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


def layout_of(folder: Path, when: int) -> dict[str, Any]:
    """A layout with an image for one architecture; its list."""
    folder.mkdir()
    layout = Layout(folder, EPOCH, {"org.opencontainers.image.version": "1.2.3"})
    image = layout.image(archive_of(folder, when), Contents("amd64"))
    layout.finish({"node": layout.index([image])})
    listing: dict[str, Any] = json.loads((folder / "index.json").read_text())
    return listing


def test_an_image_has_the_same_digest_when_it_is_built_again(tmp_path: Path) -> None:
    first, second = (layout_of(tmp_path / str(when), EPOCH + when) for when in (1, 2))
    assert first == second
    (described,) = first["manifests"]
    assert described["annotations"] == {"org.opencontainers.image.ref.name": "node"}


def test_a_layout_is_whole_and_says_what_it_is_for(tmp_path: Path) -> None:
    (described,) = layout_of(tmp_path / "layout", EPOCH)["manifests"]
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name

    def read(descriptor: dict[str, Any]) -> dict[str, Any]:
        content = (blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        assert len(content) == descriptor["size"]
        found: dict[str, Any] = json.loads(content)
        return found

    (image,) = read(described)["manifests"]
    assert image["platform"] == {"architecture": "amd64", "os": "linux"}
    manifest = read(image)
    config = read(manifest["config"])
    assert config["config"] == {"Cmd": ["tool"], "Labels": {"org.opencontainers.image.version": "1.2.3"}}
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 1


def test_an_image_for_this_machine_is_built_without_further_arguments() -> None:
    assert for_foreign("") == {}
    assert for_foreign("arm64")["PIP_PLATFORM"].split() == ["manylinux2014_aarch64", "manylinux_2_28_aarch64"]

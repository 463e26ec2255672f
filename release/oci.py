"""An OCI image layout (https://github.com/opencontainers/image-spec), written so that its digests repeat."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from release.layers import Contents, rewrite

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_KEPT = ("User", "Env", "Entrypoint", "Cmd", "WorkingDir")
# As the program gzip: a higher one needs much more time for little.
_LEVEL = 6
Descriptor = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of a layout, and what all images in it have: the time of the commit, and labels."""

    folder: Path
    epoch: int
    labels: Mapping[str, str]

    def image(self, archive: Path, contents: Contents) -> Descriptor:
        """Add the image of one architecture from a docker archive; return its descriptor."""
        with tarfile.open(archive) as packed:
            (listed,) = json.loads(_read(packed, "manifest.json"))
            built = json.loads(_read(packed, listed["Config"]))
            layers = [self._layer(packed, name, contents) for name in listed["Layers"]]
        config = {
            "architecture": contents.architecture,
            "os": "linux",
            "created": self._time(),
            "config": {
                **{key: built["config"][key] for key in _KEPT if built["config"].get(key)},
                "Labels": dict(self.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._json(CONFIG, config),
            "layers": [layer for layer, _ in layers],
        }
        platform = {"architecture": contents.architecture, "os": "linux"}
        return {**self._json(MANIFEST, manifest), "platform": platform}

    def layers(self, image: Descriptor) -> list[Path]:
        """Return the files of an image's layers, the lowest first."""
        manifest = json.loads(self._path(image["digest"]).read_bytes())
        return [self._path(layer["digest"]) for layer in manifest["layers"]]

    def index(self, images: Sequence[Descriptor]) -> Descriptor:
        """Add the index of the images of several architectures; return its descriptor."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(images)}
        return self._json(INDEX, index)

    def finish(self, named: Mapping[str, Descriptor]) -> None:
        """Write the list of the layout: {name: descriptor of its index}."""
        key = "org.opencontainers.image.ref.name"
        manifests = [{**descriptor, "annotations": {key: name}} for name, descriptor in named.items()]
        listing = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        (self.folder / "index.json").write_bytes(_bytes(listing))
        (self.folder / "oci-layout").write_bytes(_bytes({"imageLayoutVersion": "1.0.0"}))

    def _layer(self, packed: tarfile.TarFile, name: str, contents: Contents) -> tuple[Descriptor, str]:
        """Add a layer; return its descriptor, and the digest that it has unpacked."""
        layer = packed.extractfile(name)
        assert layer is not None
        with (
            tempfile.TemporaryFile(dir=self.folder) as plain,
            tempfile.TemporaryFile(dir=self.folder) as small,
        ):
            rewrite(layer, plain, contents)
            plain.seek(0)
            diff_id = hashlib.file_digest(plain, "sha256").hexdigest()
            plain.seek(0)
            with gzip.GzipFile("", "wb", _LEVEL, small, mtime=0) as sink:
                while chunk := plain.read(1 << 20):
                    sink.write(chunk)
            small.seek(0)
            return self._blob(LAYER, small.read()), f"sha256:{diff_id}"

    def _json(self, media_type: str, content: Mapping[str, Any]) -> Descriptor:
        return self._blob(media_type, _bytes(content))

    def _blob(self, media_type: str, content: bytes) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _time(self) -> str:
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is missing in {archive.name!s}"
    return file.read()


def _bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

"""Write a container image as an archive that `ctr images import` and others read, without a container engine.

Enough for images that are a ready root filesystem or a single static program: no build steps, no registry.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures by the name that images have, and by the one that the kernel and wheels have."""
# A fixed time, so that the same input gives the same image.
_EPOCH = "1970-01-01T00:00:00Z"


def architecture() -> str:
    """Return this machine's architecture by its image name, such as `amd64`."""
    names = {machine: name for name, machine in MACHINES.items()}
    return names.get(platform.machine(), platform.machine())


def program_layer(programs: Mapping[str, Path], target: Path) -> None:
    """Write a layer (an uncompressed tar) at `target` with each program at its absolute path in the image."""
    with tarfile.open(target, "w") as layer:
        for path, program in programs.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size = program.stat().st_size
            info.mode = 0o755
            with program.open("rb") as source:
                layer.addfile(info, source)


def write_image(
    target: Path,
    names: Sequence[str],
    layer: Path,
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    user: str = "",
) -> None:
    """Write the image called `names` with the one `layer` (an uncompressed tar) at `target`, by rename."""
    digest = hashlib.sha256()
    with layer.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    config = {
        "architecture": architecture(),
        "os": "linux",
        "created": _EPOCH,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": list(entrypoint) or None,
            "Cmd": list(command) or None,
            "User": user,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
        "history": [{"created": _EPOCH}],
    }
    config_json = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_json).hexdigest()}.json"
    layer_name = f"{digest.hexdigest()}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": list(names), "Layers": [layer_name]}]
    part = target.with_name(target.name + ".part")
    with tarfile.open(part, "w") as archive:
        for entry, content in ((config_name, config_json), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        archive.add(layer, layer_name)
    part.rename(target)

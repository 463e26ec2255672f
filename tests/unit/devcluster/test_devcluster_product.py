"""Image builds depend on their inputs alone, and bring this machine's settings along without keeping them."""

from __future__ import annotations

import json
import os
import tarfile
import tomllib
from pathlib import Path

import pytest

from quilt_devcluster import archive, paths, product, roots
from tests.support.programs import load


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "src" / "a.py").write_text("1")
    (tmp_path / "src" / "__pycache__" / "a.pyc").write_text("1")
    (tmp_path / "other").write_text("1")
    (tmp_path / "Containerfile").write_text("FROM scratch")
    (tmp_path / ".containerignore").write_text("# why\n*\n!src\n**/__pycache__\n")
    return tmp_path


def test_key_follows_what_the_build_sees(tree: Path) -> None:
    before = product.input_key(tree, ["base"])
    (tree / "src" / "a.py").write_text("2")
    assert product.input_key(tree, ["base"]) != before


@pytest.mark.parametrize("name", ["other", "src/__pycache__/a.pyc"])
def test_key_ignores_what_the_build_does_not_see(tree: Path, name: str) -> None:
    before = product.input_key(tree, ["base"])
    (tree / name).write_text("2")
    assert product.input_key(tree, ["base"]) == before


def test_key_follows_base_containerfile_and_mode(tree: Path) -> None:
    keys = {product.input_key(tree, ["base"]), product.input_key(tree, ["base-2"])}
    (tree / "Containerfile").write_text("FROM scratch AS x")
    keys.add(product.input_key(tree, ["base"]))
    (tree / "src" / "a.py").chmod(0o755)
    keys.add(product.input_key(tree, ["base"]))
    assert len(keys) == 4


def test_the_project_ships_what_its_wheel_is_made_of() -> None:
    root = paths.project_root()
    allowed = product.context_paths(root)
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        assert package in allowed or package == "devcluster/quilt_devcluster"


def test_pip_settings_of_files_and_environment_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\ncert = /file.crt\ntimeout = 5\n")
    config = product.pip_config({"PIP_CERT": "/env.crt", "PIP_FIND_LINKS": "/wheels", "HOME": "/x"}, [file])
    assert dict(config["global"]) == {"cert": "/env.crt", "timeout": "5", "find-links": "/wheels"}


def test_only_the_newest_archives_are_kept(tmp_path: Path) -> None:
    made = [tmp_path / f"quilt-mesh-node-{index:012x}.tar" for index in range(6)]
    for index, file in enumerate(made):
        file.touch()
        os.utime(file, (index, index))
    others = [tmp_path / f"quilt-mesh-{name}-000000000000.tar" for name in ("operator", "node-trixie")]
    for other in others:
        other.touch()
        os.utime(other, (0, 0))
    product._drop_old(made[-1])
    assert sorted(tmp_path.iterdir()) == sorted([*made[-product.KEEP :], *others])


def test_apt_sources_name_another_release_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "release", lambda: "bookworm")
    own = (
        "deb [signed-by=/k/sdk-bookworm.gpg] https://example.org/debian bookworm main\n"
        "Suites: bookworm bookworm-updates bookworm-security\nURIs: https://example.org/my-bookworm\n"
    )
    other = roots.sources_of("trixie", own)
    assert "/debian trixie main" in other
    assert "Suites: trixie trixie-updates trixie-security" in other
    assert "sdk-bookworm.gpg" in other
    assert "my-bookworm" in other


def test_roots_of_two_releases_are_kept_side_by_side() -> None:
    assert roots.root_tar("tools", "bookworm") != roots.root_tar("tools", "trixie")


def test_a_root_of_another_architecture_is_unpacked_and_not_run(tmp_path: Path) -> None:
    """A package's own scripts would need an emulator."""
    assert roots.root_tar("runtime", "bookworm") != roots.root_tar("runtime", "bookworm", "arm64")
    own, foreign = (
        [str(word) for word in roots._command("runtime", roots.release(), tmp_path, architecture)]
        for architecture in ("", "arm64")
    )
    assert "--variant=essential" in own
    asked = {"--variant=extract", "--architectures=arm64", f"--extract-hook={roots.FOREIGN}"}
    assert asked <= set(foreign)
    # Of an option that begins with a pattern, apt reads all as one pattern.
    assert "--include=?essential" in foreign


def test_an_image_archive_describes_its_layer(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_text("x")
    layer, image = tmp_path / "layer.tar", tmp_path / "image.tar"
    archive.program_layer({"/hello": program}, layer)
    archive.write_image(image, ["localhost/hello:dev"], layer, entrypoint=["/hello"])
    with tarfile.open(image) as tar:
        contents = {member.name: tar.extractfile(member) for member in tar}
        manifest = json.loads(contents["manifest.json"].read())  # type: ignore[union-attr]
        config = json.loads(contents[manifest[0]["Config"]].read())  # type: ignore[union-attr]
        assert manifest[0]["RepoTags"] == ["localhost/hello:dev"]
        assert manifest[0]["Layers"][0] in contents
    assert config["config"]["Entrypoint"] == ["/hello"]
    assert config["rootfs"]["diff_ids"][0].removeprefix("sha256:") in manifest[0]["Layers"][0]


def test_the_same_input_gives_the_same_archive(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_text("x")
    written = []
    for index in range(2):
        layer, image = tmp_path / f"layer{index}.tar", tmp_path / f"image{index}.tar"
        archive.program_layer({"/hello": program}, layer)
        archive.write_image(image, ["localhost/hello:dev"], layer)
        with tarfile.open(image) as tar:
            written.append(tar.getnames())
    assert written[0] == written[1]


def test_extras_that_name_extras_are_followed() -> None:
    project = {
        "name": "p",
        "dependencies": ["base"],
        "optional-dependencies": {
            "all": ["p[one,two]"],
            "one": ["a>=1"],
            "two": ["b", "a>=1", "p[one]"],
            "no": ["c"],
        },
    }
    assert load("devcluster/requirements.py").requirements(project, ["all"]) == ["a>=1", "b", "base"]

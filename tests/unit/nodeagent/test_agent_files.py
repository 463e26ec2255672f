"""CNI files on the host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quilt_crds.wire import LabeledMeta, Node
from quilt_nodeagent.cni import CONFLIST, CniFiles, CniPaths, foreign_first, install


@pytest.fixture
def paths(tmp_path: Path) -> CniPaths:
    source = tmp_path / "src"
    source.mkdir()
    for name in ("quilt-cni", "loopback", "portmap", "bandwidth"):
        (source / name).write_text(f"our {name}")
    return CniPaths(source, tmp_path / "opt" / "bin", tmp_path / "net.d", "/run/quilt/cni.sock")


def test_everything_is_installed_once(paths: CniPaths) -> None:
    assert install(paths) == ["quilt-cni", "loopback", "portmap", "bandwidth", CONFLIST]
    assert (paths.binaries / "quilt-cni").stat().st_mode & 0o777 == 0o755
    document = json.loads((paths.configuration / CONFLIST).read_text())
    assert document["name"] == "quilt"
    assert document["plugins"][0] == {"type": "quilt-cni", "socket": "/run/quilt/cni.sock"}
    assert document["plugins"][1]["capabilities"] == {"portMappings": True}
    programs = {path.name for path in paths.binaries.iterdir()}
    assert {plugin["type"] for plugin in document["plugins"]} <= programs
    assert install(paths) == []
    assert [p.name for p in paths.configuration.iterdir()] == [CONFLIST]


def test_a_new_version_replaces_its_own_by_rename_and_leaves_others_alone(paths: CniPaths) -> None:
    paths.binaries.mkdir(parents=True)
    (paths.binaries / "portmap").write_text("the distribution's")
    install(paths)
    running = (paths.binaries / "quilt-cni").stat().st_ino
    (paths.source / "quilt-cni").write_text("newer")
    assert install(paths) == ["quilt-cni"]
    assert (paths.binaries / "quilt-cni").stat().st_ino != running
    assert (paths.binaries / "portmap").read_text() == "the distribution's"


def test_a_removed_configuration_comes_back(paths: CniPaths) -> None:
    install(paths)
    (paths.configuration / CONFLIST).unlink()
    assert install(paths) == [CONFLIST]


def test_a_renamed_configuration_leaves_one(paths: CniPaths) -> None:
    install(paths)
    (paths.configuration / "20-other.conflist").write_text("{}")
    renamed = replace(paths, name="05-quilt.conflist")
    assert install(renamed) == ["05-quilt.conflist"]
    assert names(paths) == ["05-quilt.conflist", "20-other.conflist"]
    assert foreign_first(paths.configuration, "05-quilt.conflist") == ""
    assert "05-quilt.conflist" in foreign_first(paths.configuration, "10-quilt.conflist")


def names(paths: CniPaths) -> list[str]:
    return sorted(path.name for path in paths.configuration.iterdir())


def test_a_missing_program_is_named(paths: CniPaths) -> None:
    (paths.source / "quilt-cni").unlink()
    with pytest.raises(OSError, match="quilt-cni"):
        install(paths)
    assert not (paths.configuration / CONFLIST).exists()


def test_row_23_a_foreign_configuration_that_wins_is_named_and_kept(paths: CniPaths) -> None:
    install(paths)
    (paths.configuration / "99-late.conflist").write_text("{}")
    (paths.configuration / "00-notes.txt").write_text("")
    assert foreign_first(paths.configuration) == ""
    (paths.configuration / "05-cilium.conflist").write_text("{}")
    assert "05-cilium.conflist" in foreign_first(paths.configuration)
    install(paths)
    assert (paths.configuration / "05-cilium.conflist").exists()


def labelled(value: str = "") -> Node:
    return Node(metadata=LabeledMeta(labels={"quilt.io/cni": value} if value else {}))


@pytest.fixture
def by_label(paths: CniPaths) -> CniFiles:
    """Files that a label decides about, beside those of another network."""
    paths.configuration.mkdir()
    (paths.configuration / "10-flannel.conflist").write_text("{}")
    return CniFiles(replace(paths, name="05-quilt.conflist", install="labelled"))


async def kept(files: CniFiles, node: Node | None) -> tuple[str, str]:
    """Have the files follow the Node; status and reason of the condition."""
    files.learn(node)
    files.look_at_others()
    await files.ensure()
    found = files.condition()
    return (found.status, found.reason) if found else ("", "")


async def test_a_label_brings_the_configuration_and_its_end_removes_it(by_label: CniFiles) -> None:
    here, both = labelled("quilt"), ["05-quilt.conflist", "10-flannel.conflist"]
    assert await kept(by_label, labelled()) == ("False", "NotLabelled")
    assert names(by_label.paths) == ["10-flannel.conflist"]
    assert (by_label.paths.binaries / "quilt-cni").exists(), "plugins are wherever pods may be moved to"
    assert await kept(by_label, here) == ("True", "Labelled")
    assert names(by_label.paths) == both
    assert await kept(by_label, None) == ("True", "Labelled"), "a Node that cannot be read changes nothing"
    assert await kept(by_label, labelled("other")) == ("False", "NotLabelled")
    assert names(by_label.paths) == ["10-flannel.conflist"]


async def test_an_older_configuration_of_its_name_is_removed_too(by_label: CniFiles) -> None:
    (by_label.paths.configuration / "05-quilt.conflist").write_text("of an older version")
    (by_label.paths.configuration / CONFLIST).write_bytes(b"of somebody else")
    await kept(by_label, labelled())
    assert names(by_label.paths) == ["10-flannel.conflist", CONFLIST]


async def test_who_comes_first_is_looked_at_where_the_node_has_the_label(by_label: CniFiles) -> None:
    files = CniFiles(replace(by_label.paths, name=CONFLIST))
    assert await kept(files, labelled()) == ("False", "NotLabelled")
    assert files.foreign == ""
    assert await kept(files, labelled("quilt")) == ("False", "OtherFirst")
    assert "10-flannel.conflist" in files.foreign


async def test_without_a_label_that_counts_no_condition_speaks_of_it(paths: CniPaths) -> None:
    for when in ("never", "always"):
        files = CniFiles(replace(paths, install=when))
        assert await kept(files, None) == ("", "")
        assert files.installed
        assert paths.configuration.exists() is (when == "always")


async def test_a_problem_is_reported(by_label: CniFiles) -> None:
    (by_label.paths.source / "quilt-cni").unlink()
    assert await kept(by_label, labelled("quilt")) == ("False", "Problem")
    assert not by_label.installed

"""A release has the packages that its commit lists, or names those that it has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from quilt_devcluster import DevclusterError, paths, roots
from quilt_devcluster.debianlock import Lock

PACKAGES = frozenset({"libc6 2.36-9 amd64 aa", "libc6 2.36-9 arm64 bb", "ca-certificates 2023 all cc"})
LOCK = Lock("bookworm", PACKAGES)


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "debian.lock"
    path.write_text(LOCK.text())
    assert Lock.read(path) == LOCK


def test_fewer_packages_are_those_of_one_architecture() -> None:
    LOCK.check(["libc6 2.36-9 amd64 aa", "ca-certificates 2023 all cc"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("libc6 2.36-10 arm64 dd", "libc6 for arm64 is 2.36-10, was 2.36-9"),
        ("libc6 2.36-9 amd64 dd", "libc6 for amd64 is 2.36-9, was another file"),
        ("zlib1g 1.2 amd64 ee", "zlib1g for amd64 is 1.2, was not listed"),
    ],
)
def test_what_the_archive_has_instead_is_named(line: str, words: str) -> None:
    with pytest.raises(DevclusterError, match=words):
        LOCK.check([*PACKAGES, line])


def test_the_repositorys_list_has_both_architectures() -> None:
    lock = Lock.read(paths.project_root() / "release" / "debian.lock")
    names = {(name, of) for name, _, of, _ in map(str.split, lock.packages)}
    assert {("libc6", "amd64"), ("libc6", "arm64"), ("nftables", "arm64"), ("python3-venv", "amd64")} <= names
    assert all(len(line.split()[3]) == 64 for line in lock.packages)


def test_roots_of_a_list_are_apart_and_of_its_release_of_debian() -> None:
    assert roots.root_tar("runtime", "bookworm") != roots.root_tar("runtime", "bookworm", lock=LOCK)


def test_a_root_with_other_packages_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUILT_CACHE", str(tmp_path))
    (tmp_path / "roots").mkdir()
    had = ["libc6 2.36-9 amd64 aa"]

    def made(kind: str, codename: str, target: Path, *_: object) -> list[str]:
        assert codename == "bookworm"
        target.touch()
        return had

    monkeypatch.setattr(roots, "make", made)
    root = roots.ensure_root("runtime", print, lock=LOCK)
    assert root.exists()
    root.unlink()
    had.append("libc6 2.36-10 amd64 dd")
    with pytest.raises(DevclusterError, match=r"libc6 for amd64 is 2\.36-10"):
        roots.ensure_root("runtime", print, lock=LOCK)
    assert not root.exists()

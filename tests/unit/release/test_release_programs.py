"""Programs of images are started before these are pushed: by an emulator where this machine cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from quilt_devcluster import DevclusterError, archive
from release import programs

(FOREIGN,) = archive.MACHINES.keys() - {archive.architecture()}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would run."""
    found: list[list[str]] = []
    monkeypatch.setattr(programs, "run", lambda command, **_: found.append([str(word) for word in command]))
    return found


def test_programs_for_this_machine_are_started_as_they_are(tmp_path: Path, started: list[list[str]]) -> None:
    programs.start("node", archive.architecture(), tmp_path)
    assert {tuple(command[:2]) for command in started} == {("chroot", str(tmp_path))}
    asked = [command[2:] for command in started]
    assert ["/opt/quilt/bin/python3", "/opt/quilt/bin/quilt-agent", "--version"] in asked
    assert ["/opt/quilt/cni/quilt-cni"] in asked
    assert ["/usr/sbin/nft", "--version"] in asked
    assert list(tmp_path.iterdir()) == []


def test_programs_for_another_machine_are_started_by_an_emulator_in_the_image(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = tmp_path / programs.EMULATORS[FOREIGN]
    emulator.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    root = tmp_path / "root"
    root.mkdir()
    programs.start("operator", FOREIGN, root)
    python = ["/opt/quilt/bin/python3", "/opt/quilt/bin/quilt-operator", "--version"]
    # Of what no emulator runs whole.
    loaded = [[programs.LOADERS[FOREIGN], "--list", f"/usr/sbin/{name}"] for name in ("nft", "iptables")]
    assert [command[2:] for command in started] == [["/emulator", *words] for words in (python, *loaded)]
    assert (root / "emulator").exists()


def test_without_an_emulator_nothing_is_taken_for_started(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevclusterError, match="cannot be started") as raised:
        programs.start("node", FOREIGN, tmp_path)
    assert programs.PACKAGE in raised.value.hint
    assert not started

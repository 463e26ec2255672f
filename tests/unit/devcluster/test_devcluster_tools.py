"""Builds are keyed by exactly what they depend on, and every tool is pinned."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from quilt_devcluster import binaries, hostpackages, paths, shell
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.netpol import NETPOL
from quilt_devcluster.tools import BY_PROGRAM, KUBERNETES_VERSION, TOOLS, Tool


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    shutil.copytree(paths.TOOLS / "etcd", tmp_path / "etcd")
    return Tool("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, source=tmp_path)


def test_key_is_stable_and_independent_of_the_folder(tool: Tool) -> None:
    assert tool.key() == next(other for other in TOOLS if other.name == "etcd").key()


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_key_follows_the_pinned_versions(tool: Tool, name: str) -> None:
    before = tool.key()
    file = tool.module / name
    file.write_text(file.read_text() + "\n")
    assert tool.key() != before


def test_key_follows_what_a_dependency_is_replaced_with(tool: Tool) -> None:
    before = tool.key()
    (tool.module / "instead").mkdir()
    (tool.module / "instead" / "instead.go").write_text("package instead\n")
    assert tool.key() != before


@pytest.mark.parametrize(
    "change", [{"tags": ("x",)}, {"ldflags": "-X a=b"}, {"cgo": True}, {"programs": {"e": "e"}}]
)
def test_key_follows_the_flags(tool: Tool, change: dict[str, object]) -> None:
    assert dataclasses.replace(tool, **change).key() != tool.key()  # type: ignore[arg-type]


@pytest.mark.parametrize("tool", [*TOOLS, NETPOL], ids=lambda tool: tool.name)
def test_every_program_is_a_tool_of_its_module(tool: Tool) -> None:
    text = (tool.module / "go.mod").read_text()
    for package in tool.programs.values():
        own = package.startswith(".") and (tool.module / package / "main.go").exists()
        assert own or f"\t{package}\n" in text or f"tool {package}\n" in text
    assert (tool.module / "go.sum").stat().st_size > 0


def test_kubernetes_reports_the_version_that_is_pinned() -> None:
    tool = BY_PROGRAM["kubelet"]
    assert f"k8s.io/kubernetes v{KUBERNETES_VERSION}" in (tool.module / "go.mod").read_text()
    assert any(f"gitVersion=v{KUBERNETES_VERSION}" in flag for flag in tool.go_flags())


def test_the_tests_of_policies_are_those_of_the_kubernetes_that_runs() -> None:
    assert f"k8s.io/kubernetes v{KUBERNETES_VERSION}" in (NETPOL.module / "go.mod").read_text()


def test_runc_supports_seccomp() -> None:
    assert BY_PROGRAM["runc"].cgo
    assert "seccomp" in BY_PROGRAM["runc"].go_flags()


def test_a_program_that_is_not_built_says_which_command_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUILT_CACHE", str(tmp_path))
    with pytest.raises(DevclusterError, match="quilt-devcluster build"):
        binaries.program("kubelet")


def test_missing_packages_are_named_once() -> None:
    needed = {"no-such-a": "pkg", "no-such-b": "pkg", "/no/such": "other", "sh": "dash"}
    assert hostpackages.missing_packages(needed) == ["other", "pkg"]


@pytest.mark.parametrize(("succeeds_at", "attempts"), [(1, 1), (3, 3), (9, 3)])
def test_downloads_get_three_attempts_and_say_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    succeeds_at: int,
    attempts: int,
) -> None:
    monkeypatch.setattr(shell, "PAUSES", (0.0, 0.0))
    tried = tmp_path / "tried"
    script = f"echo x >> {tried}; test $(wc -l < {tried}) -eq {succeeds_at}"
    if succeeds_at <= attempts:
        shell.fetch(["sh", "-c", script], what="The download")
    else:
        with pytest.raises(DevclusterError, match="The download failed"):
            shell.fetch(["sh", "-c", script], what="The download")
    assert len(tried.read_text().split()) == attempts
    again = "The download failed with exit code 1. Trying again in 0 s.\n"
    assert capsys.readouterr().err == again * (attempts - 1)

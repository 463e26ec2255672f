"""The supervisor with real processes: what dies is started again, what is stopped stays off."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quilt_devcluster import control, procs
from quilt_devcluster.errors import DevclusterError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    supervisor = control.start_supervisor(tmp_path, tmp_path / "supervisor.log")
    yield tmp_path
    for item in _programs(tmp_path).values():
        control.request(tmp_path / "supervisor.sock", op="stop", name=item["name"])
    assert procs.end(supervisor, signal_number=signal.SIGTERM)


def _programs(folder: Path) -> dict[str, dict[str, object]]:
    listed = control.request(folder / "supervisor.sock", op="list")["programs"]
    return {item["name"]: item for item in listed}


def _start(folder: Path, *argv: str) -> procs.Pid:
    control.start_program(folder / "supervisor.sock", "p", argv, folder / "logs" / "p.log")
    return procs.identify(int(str(_programs(folder)["p"]["pid"])))


def _until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Ask again until the condition holds: the supervisor has no event for a third party to wait on."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)


def test_a_killed_program_is_started_again(folder: Path) -> None:
    first = _start(folder, "sleep", "60")
    control.request(folder / "supervisor.sock", op="signal", name="p", signal=int(signal.SIGKILL))
    _until(lambda: _programs(folder)["p"]["restarts"] == 1)
    assert not first.alive()
    assert _programs(folder)["p"]["running"]


def test_a_stopped_program_is_gone_and_stays_off(folder: Path) -> None:
    process = _start(folder, "sleep", "60")
    control.request(folder / "supervisor.sock", op="stop", name="p")
    assert not process.alive()
    assert _programs(folder) == {}


def test_a_paused_program_can_be_stopped(folder: Path) -> None:
    process = _start(folder, "sh", "-c", "sleep 60; true")
    control.request(folder / "supervisor.sock", op="signal", name="p", signal=int(signal.SIGSTOP))
    control.request(folder / "supervisor.sock", op="stop", name="p")
    assert not process.alive()


def test_starting_under_a_name_replaces_what_ran(folder: Path) -> None:
    first = _start(folder, "sleep", "60")
    second = _start(folder, "sleep", "61")
    assert not first.alive()
    assert second.alive()


def test_output_is_written_to_the_log(folder: Path) -> None:
    _start(folder, "sh", "-c", "echo out; echo err >&2; exec sleep 60")
    log = folder / "logs" / "p.log"
    _until(lambda: sorted(log.read_text().split()) == ["err", "out"])


def test_an_unknown_program_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(DevclusterError, match="nothing-here"):
        control.request(folder / "supervisor.sock", op="signal", name="nothing-here", signal=9)


def test_a_dead_supervisor_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match="does not answer"):
        control.request(tmp_path / "supervisor.sock", op="list")

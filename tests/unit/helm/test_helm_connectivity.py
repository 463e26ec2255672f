"""The program behind `helm test` says which pair of nodes cannot talk; run here on loopback addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.support.helm import CONNECTIVITY
from tests.support.programs import load


@pytest.fixture
def script() -> ModuleType:
    """The program."""
    return load(CONNECTIVITY)


@pytest.fixture
def server(script: ModuleType) -> Iterator[None]:
    """A server on every loopback address, at a free port: 127.0.0.1 and 127.0.0.2 stand for two pods."""
    with script.DualStackServer(("::", 0), script.Server) as running:
        script.PORT = running.server_port  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield
        running.shutdown()
        thread.join()


@pytest.mark.usefixtures("server")
def test_pods_that_reach_each_other(script: ModuleType) -> None:
    assert script.unreached({"a": "127.0.0.1", "b": "127.0.0.2"}) == []


@pytest.mark.usefixtures("server")
def test_a_pair_that_does_not_is_named(script: ModuleType) -> None:
    # TCP has no broadcast: the kernel refuses at once, without a time-out and without asking DNS.
    (line, *more) = script.unreached({"a": "127.0.0.1", "b": "255.255.255.255"})
    assert line.startswith("pods of a do not reach 255.255.255.255 on b: ")
    assert more[0].startswith("this pod does not reach 255.255.255.255 on b")


def test_the_end_of_the_time_is_the_end_of_the_test(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "servers", lambda: ({}, 3))
    assert script.check(0) == 1
    assert "0 of 3 test servers run" in capsys.readouterr().out

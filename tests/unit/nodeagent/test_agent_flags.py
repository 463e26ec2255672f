"""The command line: each flag is the agent's setting that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quilt_nodeagent import main
from quilt_nodeagent import serve as process
from quilt_nodeagent.cni import CniPaths
from quilt_nodeagent.config import Config

FLAGS = {
    "node-name": "node-1",
    "network": "blue",
    "host-ip": "198.18.0.1",
    "runtime-addr": "unix:///r.sock",
    "health-addr": "127.0.0.1:1",
    "kubeconfig": "/kubeconfig",
    "proc-sys-net": "/sys-net",
    "cni-src-dir": "/src",
    "cni-bin-dir": "/bin",
    "cni-conf-dir": "/conf",
    "cni-sock": "/cni.sock",
    "cni-conf-name": "05-quilt.conflist",
    "cni-install": "labelled",
    "tx-checksum": "off",
    "multicast-key": "/key",
}


def test_every_flag_is_the_setting_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []

    async def serve(*settings: Any) -> None:
        served.extend(settings)

    monkeypatch.setattr(process, "serve", serve)
    monkeypatch.setattr(main, "log_as_json", lambda level, stream: None)
    given = [f"--{name}={value}" for name, value in FLAGS.items()]
    result = CliRunner().invoke(main.main, given)
    assert result.exit_code == 0, result.output
    cni = CniPaths(Path("/src"), Path("/bin"), Path("/conf"), "/cni.sock", "05-quilt.conflist", "labelled")
    assert served[0] == Config(
        "node-1",
        "blue",
        "198.18.0.1",
        "unix:///r.sock",
        "127.0.0.1:1",
        Path("/kubeconfig"),
        Path("/sys-net"),
        cni,
        "off",
    )
    assert served[1] == Path("/key")

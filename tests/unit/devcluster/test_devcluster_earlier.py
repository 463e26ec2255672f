"""An upgrade starts from a commit of this clone's history; a clone without it says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from quilt_devcluster import earlier, paths
from quilt_devcluster.errors import DevclusterError


def test_a_commit_outside_the_history_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(paths, "project_root", lambda: tmp_path)
    with pytest.raises(DevclusterError) as raised:
        earlier.ensure("f9ccd392fb2c199466150306fc2010c8a0cc9fbb", print)
    assert "f9ccd392fb2c" in raised.value.message
    assert "--unshallow" in raised.value.hint

"""What of a node is in files: the connection table's counters, the CNI configuration without its secrets."""

from __future__ import annotations

import json
from pathlib import Path

from quilt_cli.kernel.settings import cni_files, conntrack


def test_counters_of_connections_are_those_of_all_processors(tmp_path: Path) -> None:
    table = tmp_path / "nf_conntrack"
    table.write_text("entries  found invalid drop\n00000010  00000001 0000000a 00000000\n00000010 1 1 2\n")
    assert conntrack(table) == {"entries": 16, "found": 2, "invalid": 11, "drop": 2}
    assert conntrack(tmp_path / "none") == {}


def test_cni_files_are_read_without_secrets_and_keys_are_not_read_at_all(tmp_path: Path) -> None:
    plugin = {
        "type": "calico",
        "policy": {"k8s_auth_token": "planted"},
        "kubernetes": {"k8s_password": "planted"},
    }
    (tmp_path / "10-other.conflist").write_text(json.dumps({"name": "other", "plugins": [plugin]}))
    (tmp_path / "kubeconfig").write_text("token: planted")
    (tmp_path / "broken.conf").write_text("{")
    (tmp_path / "multus.d").mkdir()
    found = cni_files(tmp_path)
    assert "planted" not in json.dumps(found)
    assert found["10-other.conflist"]["plugins"][0]["type"] == "calico"
    assert (found["kubeconfig"], found["broken.conf"]) == (None, None)
    assert "multus.d" not in found

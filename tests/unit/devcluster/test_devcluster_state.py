"""Clusters are claimed once, remembered by rename and found again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from quilt_devcluster import bringup, nodes, procs, state
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUILT_CACHE", str(tmp_path))
    monkeypatch.delenv("QUILT_DEVCLUSTER_STATE", raising=False)
    return tmp_path


def test_clusters_get_different_slots_and_freed_ones_again() -> None:
    assert [state.claim(name).slot for name in ("a", "b", "c")] == [0, 1, 2]
    bringup.down("b")
    assert state.names() == ["a", "c"]
    assert state.claim("d").slot == 1


def test_a_name_is_claimed_once() -> None:
    state.claim("a")
    with pytest.raises(DevclusterError, match="exists already"):
        state.claim("a")


def test_saved_state_is_loaded_again() -> None:
    facts = state.claim("a")
    facts.nodes["node-1"] = 1
    facts.pids["node-1"] = procs.Pid(1, 2)
    facts.save()
    assert state.load("a") == facts


def test_the_switches_of_a_cluster_are_remembered() -> None:
    facts = state.claim("a", 2, Kind(dual_stack=True, node_cidrs="10.0.0.0/8"))
    assert (facts.nodes, facts.servers) == ({"node-1": 1, "node-2": 2}, ["node-1", "node-2"])
    assert state.load("a") == facts


def test_the_node_of_the_control_plane_keeps_its_power() -> None:
    facts = state.claim("a", 2)
    with pytest.raises(DevclusterError, match="etcd"):
        nodes.power_off(facts, "node-1")


def test_a_node_with_an_api_server_stays_in_the_cluster() -> None:
    facts = state.claim("a", 2)
    with pytest.raises(DevclusterError, match="API server"):
        nodes.forget(facts, "node-2")


def test_an_unknown_cluster_names_those_there_are() -> None:
    state.claim("a")
    with pytest.raises(DevclusterError, match=r"no cluster 'b'(.|\n)*running: a"):
        state.load("b")


def test_an_unknown_node_names_those_there_are() -> None:
    facts = state.claim("a")
    facts.nodes["node-1"] = 1
    with pytest.raises(DevclusterError, match=r"no node 'node-7'(.|\n)*node-1"):
        facts.index("node-7")


def test_down_of_nothing_is_no_error() -> None:
    assert bringup.down("nothing") is False


@pytest.mark.parametrize("folder", ["/var/lib/x", "/etc/x", "/opt/x", "/run/x"])
def test_clusters_are_refused_below_what_nodes_layer_over(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUILT_DEVCLUSTER_STATE", folder)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(DevclusterError, match="QUILT_DEVCLUSTER_STATE"):
        bringup.check_machine()


def test_only_the_very_process_is_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        identity = procs.identify(child.pid)
        # The id fits but not the start time: this is how a recycled id looks.
        assert procs.end(procs.Pid(child.pid, identity.start - 1)) is True
        assert child.poll() is None
        assert identity.alive()
        assert procs.end(identity) is True
        assert not identity.alive()
    finally:
        child.kill()
        child.wait()


def test_processes_are_found_by_whole_arguments(tmp_path: Path) -> None:
    # A name that no other run of this test uses, also not one that was killed a moment ago.
    name = str(tmp_path / f"echo-{os.getpid()}")
    with subprocess.Popen(["tee", f"{name}5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        # Popen returns while the program may not have its arguments yet.
        child.stdin.write(b"here\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"here\n"
        assert [found.pid for found in procs.find("tee", f"{name}5")] == [child.pid]
        assert procs.find("tee", name) == []

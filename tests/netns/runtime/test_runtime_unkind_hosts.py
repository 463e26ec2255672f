"""Hosts that withhold something or change it at a bad moment: the node's network works all the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runtime_node import Node, eventually, make_vxlan

REPAIRED = 'quilt_runtime_drift_repairs_total{kind="ipv4/conf/vxlan100/forwarding"}'
Script = Callable[[str], None]


@pytest.fixture
def replace_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Put a shell script in nft's place for programs that are started from now on; $NFT is the real one."""
    real = shutil.which("nft")
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def replace(script: str) -> None:
        (folder / "nft").write_text(f"#!/bin/sh\nNFT={real}\n{script}\n")
        (folder / "nft").chmod(0o755)

    return replace


def has_table(node: Node) -> bool:
    return "table inet quilt" in node.netns.run("nft", "list", "tables")


def test_what_changes_between_the_first_look_and_the_watch_is_repaired(
    make_node: Callable[[], Node], replace_nft: Script, tmp_path: Path
) -> None:
    """t25: A table that is deleted before the runtime's watch is open comes back at once."""
    node, once = make_node(), tmp_path / "once"
    node.start()
    node.give_subnet()
    node.kill()
    once.touch()
    # Right after the look that the runtime's start ends with, somebody deletes the table.
    replace_nft(f"""
case "$*" in *"list table inet quilt"*)
  if rm {once} 2>/dev/null; then
    $NFT "$@"; result=$?
    $NFT delete table inet quilt
    exit $result
  fi;;
esac
exec $NFT "$@"
""")
    node.start()
    assert not once.exists()
    eventually(lambda: has_table(node), "the table is back")
    eventually(lambda: node.metric('quilt_runtime_drift_repairs_total{kind="table"}') == 1, "it is counted")


def test_a_kernel_without_fib_gets_the_rest_of_the_table(
    make_node: Callable[[], Node], replace_nft: Script, tmp_path: Path
) -> None:
    """u8: On a kernel without nft_fib_inet the rest of the firewall table works, and the log names it."""
    replace_nft(f"""
case "$*" in -f*) cat > {tmp_path}/text
  if grep ' fib ' {tmp_path}/text >&2; then
    echo 'Error: Could not process rule: No such file or directory' >&2; exit 1
  fi
  exec $NFT -f {tmp_path}/text;;
esac
exec $NFT "$@"
""")
    node = make_node()
    node.start()
    node.give_subnet()
    listed = node.netns.run("nft", "list", "table", "inet", "quilt")
    assert "masquerade" in listed
    assert "@overlay_sources_v4" in listed
    assert [event["action"] for event in node.events("nftables_without_fib")] == [
        "modprobe nft_fib_inet, then restart the runtime"
    ]


def forwards(node: Node, device: str = "vxlan100") -> bool:
    return node.netns.run("cat", f"/proc/sys/net/ipv4/conf/{device}/forwarding").strip() == "1"


def test_forwarding_of_the_overlays_device_is_kept_on(ready_node: Node) -> None:
    """t17: Forwarding that is switched off for the overlay's device is on again at once, and counted."""
    make_vxlan(ready_node.netns)
    eventually(lambda: forwards(ready_node), "it is on")
    before = ready_node.metric(REPAIRED)
    ready_node.netns.run("sysctl", "-qw", "net.ipv4.conf.vxlan100.forwarding=0")
    eventually(lambda: forwards(ready_node), "it is on again")
    eventually(lambda: ready_node.metric(REPAIRED) > before, "it is counted")


def test_a_device_that_is_made_again_forwards_whatever_the_hosts_default(ready_node: Node) -> None:
    """t17: A new overlay device forwards although the host's default for new devices is not to."""
    for name in ("ip_forward", "conf.default.forwarding"):
        ready_node.netns.run("sysctl", "-qw", f"net.ipv4.{name}={int(name == 'ip_forward')}")
    make_vxlan(ready_node.netns)
    eventually(lambda: forwards(ready_node), "it forwards")

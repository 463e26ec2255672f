"""`quiltctl check node` on a real kernel: what of a host would cut the mesh off is found, with its fix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest


class Namespace(Protocol):
    name: str

    def run(self, *command: str, stdin: str | None = None) -> str: ...


Found = dict[str, dict[str, str]]
Look = Callable[..., Found]

FIREWALLD = """
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    jump filter_FORWARD_IN_ZONES
    ct state { invalid } drop
    reject with icmpx type admin-prohibited
  }
  chain filter_FORWARD_IN_ZONES {
    SOURCES
    goto filter_FWDI_public
  }
  chain filter_FWDI_public {
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain filter_FWDI_trusted {
    accept
  }
}
"""


@pytest.fixture
def look(netns: Namespace, tmp_path: Path) -> Look:
    """Run the command in a namespace; return its findings that are not ok, by code."""

    def run(*arguments: str, path: str = "") -> Found:
        enter = ["ip", "netns", "exec", netns.name]
        folders = [f"--cni-conf-dir={tmp_path}", f"--run-dir={tmp_path}"]
        command = [*enter, sys.executable, "-m", "quilt_cli", "check", "node", "-o", "json", *folders]
        env = {**os.environ, "COLUMNS": "200"}
        if path:
            command = [*enter, "env", f"PATH={path}", *command[len(enter) :]]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=env, check=False)
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)["findings"]
        return {item["code"]: item for item in found if item["level"] != "ok"}

    return run


def test_firewalld_that_rejects_what_is_forwarded_is_named_with_the_commands(
    netns: Namespace, look: Look
) -> None:
    """t16: A firewalld that would reject pods' packets fails the check, which prints the commands to run."""
    netns.run("nft", "-f", "-", stdin=FIREWALLD.replace("SOURCES", ""))
    found = look().get("forward-drop", {"level": "none", "todo": ""})
    assert found["level"] == "fail"
    assert "firewall-cmd --permanent --zone=trusted --add-source=10.42.0.0/16" in found["todo"]
    netns.run("nft", "delete", "table", "inet", "firewalld")
    source = "ip saddr 10.42.0.0/16 goto filter_FWDI_trusted"
    netns.run("nft", "-f", "-", stdin=FIREWALLD.replace("SOURCES", source))
    assert "forward-drop" not in look()


def test_a_last_rule_that_rejects_is_found_as_a_policy_is(netns: Namespace, look: Look) -> None:
    """t16: A chain of another program that ends in a rule that drops everything fails the check."""
    chain = (
        'chain f { type filter hook forward priority 0; policy accept; iifname "a" accept; counter drop; }'
    )
    netns.run("nft", "-f", "-", stdin=f"table inet site {{ {chain}; }}")
    found = look().get("forward-drop", {"todo": ""})
    assert "nft insert rule inet site f iifname quilt0 accept" in found["todo"]


def test_what_the_runtime_lets_pass_by_itself_is_no_problem_before_it_runs(
    netns: Namespace, look: Look
) -> None:
    netns.run("iptables-nft", "-A", "FORWARD", "-j", "REJECT")
    assert "forward-drop" not in look("--pre")
    assert look("--post")["forward-drop"]["level"] == "fail"


@pytest.mark.parametrize(
    ("rule", "chain"),
    [
        ("iptables-nft -A INPUT -p udp -m conntrack --ctstate NEW -m udp --dport 4789 -j ACCEPT", "INPUT"),
        (
            "iptables-nft -A INPUT -p udp -m state --state NEW -m multiport --dports 53,4789 -j ACCEPT",
            "INPUT",
        ),
        ("iptables-nft -A INPUT -s 198.18.0.0/16 -m conntrack --ctstate NEW -j ACCEPT", "INPUT"),
    ],
)
def test_a_host_firewall_that_accepts_the_overlay_by_state_alone_is_named(
    netns: Namespace, look: Look, rule: str, chain: str
) -> None:
    """s1: A host firewall that accepts the overlay's port only where `ctstate` is NEW fails the check."""
    for line in (
        "iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "iptables-nft -A INPUT -i lo -j ACCEPT",
        "iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT",
        rule,
    ):
        netns.run(*line.split())
    assert "overlay-untracked" not in look(), "nothing is refused"
    netns.run("iptables-nft", "-P", "INPUT", "DROP")
    found = look().get("overlay-untracked", {"level": "none", "todo": ""})
    assert found["level"] == "fail"
    command, _, _ = found["todo"].partition(";")
    assert command == f"iptables -I {chain} -p udp --dport 4789 -j ACCEPT"
    netns.run(*command.replace("iptables", "iptables-nft").split())
    assert "overlay-untracked" not in look()


def test_a_rule_that_names_untracked_packets_is_fine(netns: Namespace, look: Look) -> None:
    zone = "chain zone { udp dport 4789 ct state { new, untracked } accept; }"
    base = "chain i { type filter hook input priority 0; policy drop; jump zone; }"
    netns.run("nft", "-f", "-", stdin=f"table inet site {{ {zone}; {base}; }}")
    assert "overlay-untracked" not in look()


def test_forwarding_that_is_off_for_the_hosts_interface_is_named(netns: Namespace, look: Look) -> None:
    """t17: Forwarding that is off for the host's own interface fails the check, which names the switch."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    netns.run("ip", "addr", "add", "198.18.0.1/24", "dev", "eth0")
    netns.run("ip", "link", "set", "other", "up")
    netns.run("ip", "link", "set", "eth0", "up")
    netns.run("ip", "route", "add", "default", "via", "198.18.0.254")
    netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert "forwarding-off" not in look()
    netns.run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=0")
    found = look().get("forwarding-off", {"todo": ""})
    assert "sysctl -w net/ipv4/conf/eth0/forwarding=1" in found["todo"]


def programs(folder: Path, *names: str) -> str:
    """A folder with these programs of root's and no others, as a PATH."""
    folder.mkdir()
    for name in names:
        path = shutil.which(name)
        assert path, name
        (folder / name).symlink_to(path)
    return str(folder)


def test_a_host_without_a_program_for_host_ports_is_named(look: Look, tmp_path: Path) -> None:
    """u8: A host that has neither iptables nor nft is named for its hostPorts; one of them is enough."""
    found = look(path=programs(tmp_path / "none", "env"))
    assert found.get("host-ports", {}).get("level") == "warn"
    assert "neither iptables nor nft" in found["host-ports"]["message"]
    assert "host-ports" not in look(path=programs(tmp_path / "nft", "nft"))


@pytest.mark.parametrize(
    ("module", "statement", "level"),
    [("nft_fib_inet", "fib ", "warn"), ("nft_objref", "counter name ", "fail")],
)
def test_a_kernel_without_a_module_is_named(
    look: Look, tmp_path: Path, module: str, statement: str, level: str
) -> None:
    """u8: A kernel without nft_fib_inet or nft_objref is named before the install, with what it means."""
    wrapper = tmp_path / "wrapped"
    wrapper.mkdir()
    (wrapper / "nft").write_text(f"""#!/bin/sh
case "$*" in "-f -") text=$(cat)
  case "$text" in *"{statement}"*)
    echo "Error: Could not process rule: No such file or directory" >&2; exit 1;;
  esac
  printf '%s\\n' "$text" | exec {shutil.which("nft")} -f -;;
esac
exec {shutil.which("nft")} "$@"
""")
    (wrapper / "nft").chmod(0o755)
    found = look(path=f"{wrapper}:{os.environ['PATH']}")
    assert {code: item["level"] for code, item in found.items() if code.startswith("kernel-")} == {
        f"kernel-{module}": level
    }
    assert f"modprobe {module}" in found[f"kernel-{module}"]["todo"]
    assert not [code for code in look() if code.startswith("kernel-")]

"""Tables are replaced so that no packet is judged by a set that is about to go."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from quilt_runtime.core import firewall, guard
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall

SUBNET = IPv4Network("10.42.1.0/24")
WANTED = Firewall(NodeConfig(overlay_sources=frozenset({"198.18.0.2"})), SUBNET)
TABLES = {
    "inet": firewall.ruleset(WANTED),
    "bridge": guard.ruleset(SUBNET, guard.bridge_mac(SUBNET), {}),
    "bridge without a runtime": guard.gone(),
}


def entrance(steps: tuple[str, ...]) -> str:
    """The chain that is emptied first, as text names it: the last one of the first step."""
    flushes = [line for line in steps[0].splitlines() if line.startswith("flush chain ")]
    return flushes[-1].removeprefix("flush chain ")


def asks_sets(rule: str) -> bool:
    """Whether a set of the table decides what becomes of a packet, here or in another chain."""
    return "@o" in rule or "@c" in rule or "goto" in rule or "jump" in rule


@pytest.mark.parametrize("steps", TABLES.values(), ids=TABLES)
def test_sets_come_and_go_while_nobody_is_judged_by_them(steps: tuple[str, ...]) -> None:
    """s1 and s5: A table is replaced without the loss of a packet."""
    opened, replaced, *closed = steps
    family, table, chain = entrance(steps).split()
    assert not any("set " in step or "delete" in step for step in (opened, *closed))
    assert not any(map(asks_sets, opened.splitlines()))
    body = replaced.partition(f"  chain {chain} {{\n")[2].partition("}")[0].splitlines()
    assert not any(map(asks_sets, body))
    lines = "".join(closed).splitlines()
    assert lines[:1] == [f"flush chain {family} {table} {chain}"] * bool(closed)
    assert all(line.startswith(f"add rule {family} {table} {chain} ") for line in lines[1:])


def test_packets_of_the_overlay_are_never_tracked_meanwhile() -> None:
    opened, replaced, closed = TABLES["inet"]
    chain = entrance(TABLES["inet"]).split()[-1]
    assert opened.rstrip().endswith("notrack")
    assert "notrack" in replaced.partition(f"  chain {chain} {{\n")[2].partition("}")[0]
    assert "goto overlay" in closed


def test_what_an_older_release_judged_by_sets_is_opened_too() -> None:
    assert "flush chain inet quilt input\n" in TABLES["inet"][0]

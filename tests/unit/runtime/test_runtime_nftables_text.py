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


@pytest.mark.parametrize("steps", TABLES.values(), ids=TABLES)
def test_sets_come_and_go_while_the_way_into_the_table_is_empty(steps: tuple[str, ...]) -> None:
    """s1 and s5: A table is replaced without the loss of a packet."""
    opened, replaced, *closed = steps
    assert [line.split()[0] for line in opened.splitlines()] == ["add", "add", "flush"]
    entrance = opened.splitlines()[-1].split()[-1]
    assert not any("set " in step or "delete" in step for step in (opened, *closed))
    body = replaced.partition(f"  chain {entrance} {{\n")[2].partition("}")[0].splitlines()
    assert len(body) <= 2, "no rule beside its type"
    assert "goto" not in "".join(body)
    assert all(
        line.startswith(f"add rule {line.split()[2]} quilt {entrance} ")
        for line in "".join(closed).splitlines()
    )

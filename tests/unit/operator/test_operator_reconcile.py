"""Host addresses that move, objects that go while others stay, strangers in the ranges, refused wishes."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest

from quilt_crds.names import QUILTNETWORK
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core import network_status
from quilt_operator.core.health import Guard
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from tests.support.logs import capture_logs
from tests.support.operator_doubles import Operator

NOW = "2026-01-02T03:04:05Z"
NAMES = ("a", "b", "c")
MOVES = [
    pytest.param(dict(zip("abc", addresses, strict=True)), id="-".join(str(n) for n in addresses))
    for addresses in [*itertools.permutations((1, 2, 3)), (2, 3, 4)][1:]
]


def address(number: int) -> str:
    return f"192.0.2.{number}"


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    return Operator(monkeypatch)


def published(operator: Operator) -> dict[str, tuple[str, str]]:
    return {node: (phase, ip) for node, phase, ip in operator.claims().values()}


async def test_the_grace_period_begins_once(operator: Operator) -> None:
    await operator.join("n", address(1))
    operator.drop_node("n")
    operator.drop_host("n")
    await operator.work()
    begun = dict(operator.api.claims)
    assert set(operator.phases().values()) == {"Releasing"}
    operator.verdict("n", down=True)
    await operator.wait(2)
    assert operator.api.claims == begun


@pytest.mark.parametrize("moved", MOVES)
async def test_nodes_that_exchange_their_addresses_are_all_published_under_the_new_ones(
    monkeypatch: pytest.MonkeyPatch, moved: dict[str, int]
) -> None:
    """t3: Nodes that swap or shift their host addresses are all reached again, in whatever order."""
    for order in itertools.permutations([(who, name) for name in moved for who in ("kubelet", "agent")], 3):
        operator = Operator(monkeypatch)
        for number, name in enumerate(NAMES, 1):
            await operator.join(name, address(number))
        rest = [(who, name) for name in moved for who in ("kubelet", "agent") if (who, name) not in order]
        for who, name in (*order, *rest):
            if who == "kubelet":
                operator.host(name, address(moved[name]))
            else:
                operator.node(name, hostIP=address(moved[name]))
            await operator.work()
        await operator.wait(30)
        assert published(operator) == {name: ("Up", address(n)) for name, n in moved.items()}, order


@pytest.mark.parametrize(
    "moved", [{"a": 2, "b": 1, "c": 3}, {"a": 2, "b": 3, "c": 1}, {"a": 2, "b": 3, "c": 4}]
)
async def test_addresses_of_another_nic_that_agents_alone_tell_are_exchanged_too(
    monkeypatch: pytest.MonkeyPatch, moved: dict[str, int]
) -> None:
    """With `underlay` no Node confirms an address: a node that leaves one frees it for the next."""
    for order in itertools.permutations(NAMES):
        operator = Operator(monkeypatch, underlay={"cidrs": ["203.0.113.0/24"]})
        for number, name in enumerate(NAMES, 1):
            operator.host(name, address(number))
            operator.node(name, hostIP=f"203.0.113.{number}")
            await operator.work()
        first = {name: ("Up", f"203.0.113.{number}") for number, name in enumerate(NAMES, 1)}
        assert published(operator) == first
        for name in order:
            operator.node(name, hostIP=f"203.0.113.{moved[name]}")
            await operator.work()
        await operator.wait(30)
        assert published(operator) == {name: ("Up", f"203.0.113.{n}") for name, n in moved.items()}, order


async def test_an_address_outside_of_the_underlay_leaves_the_former_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = Operator(monkeypatch, underlay={"cidrs": ["203.0.113.0/24"]})
    await operator.join("n", address(1))
    operator.node("n", hostIP="198.51.100.1")
    await operator.wait(2)
    assert published(operator) == {"n": ("Up", address(1))}
    assert "underlay.cidrs (203.0.113.0/24)" in operator.condition("n", "Ready")["message"]


async def test_a_machine_under_another_name_gets_its_address_once_the_former_is_down(
    operator: Operator,
) -> None:
    """t3: Who lost a conflict over a host address is looked at again, and gets it when the holder is Down."""
    await operator.join("former", address(1))
    await operator.join("again", address(1))
    await operator.wait(2)
    assert published(operator)["again"] == ("Down", "")
    assert operator.condition("again", "Ready")["reason"] == "HostIPConflict"
    operator.verdict("former", down=True)
    await operator.wait(30)
    assert published(operator) == {"former": ("Down", address(1)), "again": ("Up", address(1))}
    operator.verdict("former", down=False)
    await operator.wait(30)
    assert published(operator)["again"] == ("Up", address(1))
    assert published(operator)["former"][0] == "Down", "its address is another machine's now"


async def test_a_holder_whose_own_node_does_not_confirm_the_address_holds_it_no_longer(
    operator: Operator,
) -> None:
    """t3: A holder counts only while its own Node, or an administrator, confirms the address."""
    await operator.join("a", address(1))
    operator.host("a", address(9))
    await operator.join("b", address(1))
    assert published(operator)["b"] == ("Up", address(1))
    operator.node("chosen", spec={"hostIP": address(5)})
    await operator.join("c", address(5))
    assert published(operator)["c"] == ("Down", "")


async def test_a_quiltnode_deleted_while_its_node_stays_keeps_claim_and_routes(operator: Operator) -> None:
    """t28: A QuiltNode that is being deleted with a finalizer stays published while its Node exists."""
    await operator.join("n", address(1))
    operator.node("n", going=True)
    await operator.wait(700)
    assert published(operator) == {"n": ("Up", address(1))}
    operator.host("n", address(2))
    operator.node("n", going=True, hostIP=address(2))
    await operator.wait(2)
    assert published(operator) == {"n": ("Up", address(2))}
    operator.drop_host("n")
    await operator.wait(2)
    assert published(operator)["n"][0] == "Releasing"


async def test_a_quiltnode_deleted_while_its_agent_is_away_keeps_claim_and_routes(operator: Operator) -> None:
    """t28: A QuiltNode deleted by mistake leaves claim and routes, withdrawn only when the node is Down."""
    await operator.join("n", address(1))
    operator.drop_node("n")
    await operator.wait(700)
    assert published(operator) == {"n": ("Up", address(1))}
    operator.verdict("n", down=True)
    await operator.wait(2)
    assert published(operator) == {"n": ("Down", address(1))}
    operator.verdict("n", down=False)
    await operator.wait(2)
    operator.node("n", hostIP=address(1))
    await operator.wait(2)
    assert operator.claims() == {"10.42.1.0/24": ("n", "Up", address(1))}
    operator.drop_node("n")
    operator.drop_host("n")
    await operator.wait(2)
    assert published(operator)["n"][0] == "Releasing"


async def test_a_machine_that_comes_under_a_prepared_name_is_not_down_because_that_had_no_address(
    operator: Operator,
) -> None:
    """t28: A claim that is Down for want of an address says nothing about who renews a Lease."""
    operator.node("n")
    await operator.wait(2)
    assert published(operator) == {"n": ("Down", "")}
    operator.beats.forget("n")  # Another one leads.
    operator.host("n", address(1))
    operator.drop_node("n")
    await operator.wait(2)
    operator.node("n", hostIP=address(1))
    await operator.wait(2)
    assert published(operator) == {"n": ("Up", address(1))}


async def test_a_quiltnode_without_a_node_leaves_with_its_claim(operator: Operator) -> None:
    operator.node("n", spec={"hostIP": address(1)})
    await operator.wait(2)
    operator.drop_node("n")
    await operator.wait(2)
    assert published(operator) == {"n": ("Releasing", address(1))}


async def test_a_node_missing_from_the_view_alone_is_not_released(operator: Operator) -> None:
    """t28: Before a claim is released the API server is asked whether the Node is really gone."""
    await operator.join("n", address(1))
    host = operator.api.hosts["n"]
    operator.drop_host("n")
    operator.api.hosts["n"] = {
        **host,
        "metadata": {**host["metadata"], "resourceVersion": operator.api.next()},
    }
    operator.drop_node("n")
    await operator.wait(5)
    assert published(operator) == {"n": ("Up", address(1))}


async def look_for_overlaps(operator: Operator) -> None:
    """What the network's own pass does every few seconds."""
    network = NetworkReconciler(
        operator.world,
        cast(Client, operator.api),
        cast(Heartbeats, operator.beats),
        cast(EventRecorder, operator.events),
        "quilt-system",
    )
    await network.look_for_overlaps()


async def test_a_foreign_node_inside_the_ranges_holds_up_nobody_else(operator: Operator) -> None:
    """s8: A Node with an address inside clusterCIDRs costs that subnet alone, and a condition says so."""
    await operator.join("a", address(1))
    operator.host("virtual-kubelet", "10.42.2.17", "10.42.1.9")
    await look_for_overlaps(operator)
    await operator.join("b", address(2))
    await operator.wait(10)
    assert operator.claims() == {
        "10.42.1.0/24": ("a", "Up", address(1)),
        "10.42.3.0/24": ("b", "Up", address(2)),
    }
    assert operator.world.book is not None
    status = network_status.desired(operator.world.book, Guard(), "", operator.world.overlaps, (), NOW)
    accepted = next(item for item in status.conditions if item.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "Overlaps")
    assert "10.42.2.17 of Node virtual-kubelet" in accepted.message
    assert "left out" in accepted.message
    operator.drop_host("virtual-kubelet")
    await operator.join("c", address(3))
    assert operator.claims()["10.42.2.0/24"] == ("c", "Up", address(3))


async def test_a_hostile_kubelet_cannot_use_up_the_ranges(operator: Operator) -> None:
    """s8: However many addresses a Node makes up, only a few subnets are left out for it."""
    operator.host("hostile", *(f"10.42.{number}.1" for number in range(1, 255)))
    await look_for_overlaps(operator)
    for number in range(1, 4):
        await operator.join(f"node-{number}", address(number))
    await operator.wait(10)
    assert len(operator.claims()) == 3


async def test_who_has_an_address_inside_the_ranges_itself_gets_no_subnet(operator: Operator) -> None:
    await operator.join("n", "10.42.7.7")
    await operator.wait(10)
    assert not operator.claims()
    assert operator.condition("n", "SubnetAllocated")["reason"] == "Overlaps"


async def test_a_service_network_inside_the_ranges_stops_all_assignment(operator: Operator) -> None:
    operator.api.services = ("10.42.128.0/20",)
    await look_for_overlaps(operator)
    await operator.join("n", address(1))
    await operator.wait(10)
    assert not operator.claims()


def refusals(logs: list[Any]) -> list[str]:
    return [line["cidr"] for line in logs if line["event"] == "claim_refused"]


async def test_a_refused_subnet_is_asked_again_with_back_off_and_logged_once(operator: Operator) -> None:
    """u14: A refused spec.subnet is asked again later and later, with one log line for each change."""
    operator.api.refused = dict.fromkeys(["10.99.0.0/24", "10.99.1.0/24"], "is not a node subnet")
    operator.host("n", address(1))
    with capture_logs() as logs:
        operator.node("n", hostIP=address(1), spec={"subnet": "10.99.0.0/24"})
        await operator.wait(600)
        assert operator.condition("n", "SubnetAllocated")["reason"] == "ClaimRefused"
        assert operator.api.posts <= 15, "each minute in the end"
        assert refusals(logs) == ["10.99.0.0/24"]
        before = operator.api.posts
        operator.node("n", spec={"subnet": "10.99.1.0/24"})
        await operator.work()
        assert operator.api.posts == before + 1, "another wish is asked for at once"
        assert refusals(logs) == ["10.99.0.0/24", "10.99.1.0/24"]
    del operator.api.refused["10.99.1.0/24"]
    await operator.wait(70)
    assert operator.phases() == {"10.99.1.0/24": "Up"}, "asked again"


async def test_a_changed_network_is_asked_at_once_for_what_it_refused(operator: Operator) -> None:
    operator.api.refused = {"10.99.0.0/24": "is not a node subnet"}
    operator.host("n", address(1))
    operator.node("n", hostIP=address(1), spec={"subnet": "10.99.0.0/24"})
    await operator.wait(600)
    del operator.api.refused["10.99.0.0/24"]
    meta = {"name": "default", "uid": "network", "resourceVersion": operator.api.next()}
    spec = {"clusterCIDRs": ["10.42.0.0/16", "10.99.0.0/16"]}
    operator.world.observe(QUILTNETWORK.plural, {"metadata": meta, "spec": spec})
    await operator.wait(6)
    assert operator.phases() == {"10.99.0.0/24": "Up"}

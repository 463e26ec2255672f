"""Connections that no policy forbids lose nothing while policies change.

QUILT_POLICY_CHANGES is the number of changes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from quilt_policy.program import Chain, Profile, Program
from tests.support.namespaces import Namespace
from tests.support.numbered import Numbered
from tests.support.policy_node import PORT, PolicyNode, denied, probe, serving
from tests.support.policy_programs import (
    address_set,
    egress,
    ingress,
    pod,
    program,
    ranges,
    rule,
    tcp,
    udp,
)
from tests.support.runtime_node import Node, eventually

Make = Callable[[], Namespace]
CHANGES = int(os.environ.get("QUILT_POLICY_CHANGES", "200"))
SEED = int(os.environ.get("QUILT_POLICY_SEED", str(random.randrange(1 << 32))))
SERVICE = "10.96.0.9"
DNAT = f"""table ip service {{
  chain in {{
    type nat hook prerouting priority dstnat;
    ip daddr {SERVICE} udp dport 80 dnat to 10.42.1.2:{PORT}
  }}
}}"""

FORMER = """flush chain inet quilt-policy forward
table inet quilt-policy {
  chain forward {
    ct id @fresh accept
    ct original ip saddr vmap @from4
    ct reply ip saddr vmap @to4
    add @fresh { ct id }
  }
}
delete set inet quilt-policy judged4
delete set inet quilt-policy judged6
"""
"""Makes the table of the release that remembered connections alone, in short."""


class Changing:
    """What holds for the pods web, client and other, one change after the other."""

    def __init__(self, node: PolicyNode) -> None:
        self._node = node
        self._chance = random.Random(SEED)
        self._into = ingress("i_0", rule("p_friends"), rule("b_1"))
        self._out = egress("e_0", rule("p_web"))
        self._friends = set(node.addresses.values())
        self._blocks = [("10.42.1.0", "10.42.1.255")]
        self._bystander = Profile(pod("bystander"))
        self.send()

    def send(self) -> None:
        """Have all of it enforced."""
        self._node.replace(self._program())

    def change(self, number: int) -> None:
        """Make one of the changes that policies can undergo; none forbids what the pods say to each other."""
        what = self._chance.choice(
            (self._member, self._member, self._member, self._block, self._rules, self._egress, self._other)
        )
        what(number)

    def _program(self) -> Program:
        chains: tuple[Chain, ...] = (self._into, self._out, ingress("i_closed"))
        profiles = (
            Profile(pod("web"), self._into.name),
            Profile(pod("client"), egress=self._out.name),
            Profile(pod("other"), egress=self._out.name),
            self._bystander,
        )
        sets = (
            address_set("p_friends", *self._friends),
            self._node.of("p_web", "web"),
            ranges("b_1", *self._blocks),
        )
        return program(*chains, *profiles, *sets)

    def _member(self, number: int) -> None:
        """Somebody comes behind a selector, or leaves it."""
        stranger = f"10.42.{2 + number % 200}.9"
        if stranger in self._friends:
            self._friends.discard(stranger)
            self._node.members("p_friends", remove=(stranger,))
        else:
            self._friends.add(stranger)
            self._node.members("p_friends", add=(stranger,))

    def _block(self, number: int) -> None:
        """An ipBlock is another."""
        self._blocks = [("10.42.1.0", "10.42.1.255"), (f"192.0.2.{number % 200}", "192.0.2.255")]
        self.send()

    def _rules(self, number: int) -> None:
        """A policy of the server has other rules."""
        self._into = ingress(f"i_{number}", rule("p_friends"), rule("b_1", tcp(1 + number % 9_000)))
        self.send()

    def _egress(self, number: int) -> None:
        """A policy of the clients allows other ports besides."""
        ports = udp(*sorted({PORT, 10_000 + number % 9_000}))
        self._out = egress(f"e_{number}", rule("p_web", ports))
        self.send()

    def _other(self, number: int) -> None:
        """A pod that has nothing to do with it is isolated, or is so no more."""
        self._bystander = Profile(pod("bystander"), "" if self._bystander.ingress else "i_closed")
        self.send()


@pytest.fixture
def enforcing(ready_node: Node, make_netns: Make) -> PolicyNode:
    made = PolicyNode(ready_node, make_netns)
    made.replace(program(*map(unheld, ("web", "client", "other", "bystander"))))
    return made


def test_connections_that_no_change_forbids_lose_nothing(enforcing: PolicyNode) -> None:
    """calico #6399's other side: to judge a connection again must not cost it a packet."""
    print(f"QUILT_POLICY_SEED={SEED}")
    pods, changing = populated(enforcing)
    with loses_nothing(enforcing, pods):
        for number in range(1, CHANGES + 1):
            changing.change(number)


def test_an_upgrade_from_a_table_that_remembers_connections_alone_loses_nothing(
    enforcing: PolicyNode,
) -> None:
    pods, changing = populated(enforcing)
    with loses_nothing(enforcing, pods):
        enforcing.node.kill()
        enforcing.node.netns.run("nft", "-f", "-", stdin=FORMER)
        enforcing.node.start()
        enforcing.configure(True)
        changing.send()
    assert "set judged4" in enforcing.table()
    assert "policies_written_again" not in enforcing.node.log, "pods are cut off meanwhile"


def populated(enforcing: PolicyNode) -> tuple[list[Namespace], Changing]:
    """Connect the pods, web, client and other first, and put a Service before web."""
    pods = [enforcing.add(name) for name in ("web", "client", "other", "bystander")]
    enforcing.node.netns.run("nft", "-f", "-", stdin=DNAT)
    return pods, Changing(enforcing)


@contextmanager
def loses_nothing(enforcing: PolicyNode, pods: list[Namespace]) -> Iterator[None]:
    """Both clients and the server send all the time, and everything arrives."""
    web, client, other, *_ = pods
    with (
        Numbered(web, "serve", "0.0.0.0", PORT) as server,
        Numbered(client, "connect", enforcing.addresses["web"], PORT) as direct,
        Numbered(other, "connect", SERVICE, 80) as by_service,
    ):
        yield
        ends = {enforcing.addresses["client"]: direct, enforcing.addresses["other"]: by_service}
        for end in (server, *ends.values()):
            end.end()

        def lost() -> dict[str, int]:
            """By the way, how many did not arrive so far."""
            sent, got = server.report()
            found = {}
            for address, end in ends.items():
                there, back = end.report()
                found[f"from {address}"] = sum(there.values()) - got[address]
                found[f"to {address}"] = sent[address] - sum(back.values())
            print(f"datagrams sent {sent}, got {got}; not arrived {found}")
            return found

        eventually(lambda: not any(lost().values()), "all arrive", timeout=10)


def test_who_was_judged_connects_again_without_rules_until_something_is_forbidden(
    enforcing: PolicyNode,
) -> None:
    """Same client, server, protocol and port; nothing else is known from it."""
    web, client, other = (enforcing.add(name) for name in ("web", "client", "other"))
    names = ("client", "other", "bystander")
    held = (ingress("i_1", rule("p_a", tcp(PORT))), Profile(pod("web"), "i_1"), *map(unheld, names))
    address = enforcing.addresses["web"]
    enforcing.replace(program(enforcing.of("p_a", "client"), *held))
    with serving(web):
        assert all(probe(client, address) for _ in range(3))
        rules = enforcing.node.netns.run("nft", "list", "chain", "inet", "quilt-policy", "i_1-4")
        assert "counter packets 1 " in rules
        assert denied(other, address)
        assert denied(client, address, "udp")
        enforcing.replace(program(enforcing.of("p_a"), *held))
        assert denied(client, address)


def unheld(name: str) -> Profile:
    """A pod that no policy selects."""
    return Profile(pod(name))


def test_ten_thousand_policies_may_hold_for_one_pod(enforcing: PolicyNode) -> None:
    """kube-router #945: 675,056 rules and several hours. Each policy allows somebody else."""
    web, client, other = (enforcing.add(name) for name in ("web", "client", "other"))
    names = [f"p_{number}" for number in range(10_000)]
    strangers = [f"10.43.{number // 250}.{number % 250}" for number in range(len(names) - 1)]
    sets = [address_set(*one) for one in zip(names, strangers, strict=False)]
    allowing = ingress("i_1", *(rule(name, tcp(PORT)) for name in names))
    others = [Profile(pod(name)) for name in ("client", "other", "bystander")]
    enforcing.replace(
        program(*sets, enforcing.of(names[-1], "client"), allowing, Profile(pod("web"), "i_1"), *others)
    )
    with serving(web):
        assert probe(client, enforcing.addresses["web"])
        assert denied(other, enforcing.addresses["web"])

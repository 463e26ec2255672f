"""What tiers of policies let pass, in packets, in each combination that the ends of a connection can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from quilt_policy.program import Action, Chain, Direction, Profile, Program, Rule
from tests.support.frames import IP, datagram, ethernet, mac_of, send
from tests.support.namespaces import Namespace
from tests.support.policy_node import PolicyNode
from tests.support.policy_programs import address_set, pod, program, rule
from tests.support.runtime_node import Node, ping

Make = Callable[[], Namespace]
GATEWAY_MAC = "02:71:0a:2a:01:01"
SEEN = """table inet seen {
  set pairs { type ipv4_addr . ipv4_addr; flags dynamic; size 4096; }
  chain out { type filter hook postrouting priority 0; udp dport 9999 add @pairs { ip saddr . ip daddr }; }
}"""
ACCEPT, DENY, PASS = (rule(action=action) for action in (Action.ACCEPT, Action.DENY, Action.PASS))
NOBODY = rule("p_0", action=Action.DENY)
Tiers = tuple[tuple[Rule, ...], tuple[Rule, ...] | None, tuple[Rule, ...]]
TIERS: list[tuple[Tiers, bool]] = [
    (((), (ACCEPT,), ()), True),
    (((), (), ()), False),
    (((ACCEPT,), (), ()), True),
    (((DENY,), (ACCEPT,), ()), False),
    (((PASS, DENY), (ACCEPT,), ()), True),
    (((PASS, ACCEPT), (), ()), False),
    (((NOBODY,), (ACCEPT,), ()), True),
    (((NOBODY,), (), ()), False),
    (((), None, (DENY,)), False),
    (((), None, (PASS, DENY)), True),
    (((ACCEPT,), None, (DENY,)), True),
    (((PASS, ACCEPT), None, (DENY,)), False),
    (((PASS, DENY), None, (ACCEPT, DENY)), True),
    (((PASS, DENY), None, ()), True),
]


def test_each_combination_of_tiers_of_both_ends_decides_as_both_do(
    ready_node: Node, make_netns: Make
) -> None:
    """trap 9: a return behind a goto comes back to where the other end's chain is asked."""
    enforcing = PolicyNode(ready_node, make_netns)
    enforcing.replace(Program())
    numbers = range(len(TIERS))
    parts: list[Chain | Profile] = []
    for direction, letter in ((Direction.EGRESS, "e"), (Direction.INGRESS, "i")):
        for number in numbers:
            name = f"{letter}_{number}"
            parts.append(Chain(name, direction, *TIERS[number][0]))
            held = {direction.value.lower(): name}
            parts.append(Profile(pod(f"{letter}{number}"), **held))
    enforcing.replace(program(address_set("p_0"), *parts))
    clients = {number: enforcing.add(f"e{number}") for number in numbers}
    for number in numbers:
        enforcing.add(f"i{number}")
    enforcing.node.netns.run("nft", "-f", "-", stdin=SEEN)
    servers = [enforcing.addresses[f"i{number}"] for number in numbers]
    for number, client in clients.items():
        own = enforcing.addresses[f"e{number}"]
        frames = (ethernet(GATEWAY_MAC, mac_of(own), IP, datagram(own, to, "x")) for to in servers)
        send(client, [*frames])
        ping(enforcing.node.netns, own)
    expected = {
        (enforcing.addresses[f"e{client}"], enforcing.addresses[f"i{server}"])
        for client in numbers
        for server in numbers
        if TIERS[client][1] and TIERS[server][1]
    }
    assert set(seen(enforcing.node.netns)) == expected


def seen(node: Namespace) -> Iterator[tuple[str, str]]:
    """The pairs of pods between which a datagram passed the node."""
    listed = node.run("nft", "list", "set", "inet", "seen", "pairs")
    for pair in listed.partition("elements = {")[2].partition("}")[0].split(","):
        client, _, server = pair.strip().partition(" . ")
        yield client, server

"""Pods that run while their node's runtime ends and another one begins: what is forbidden never passes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from quilt_policy.program import Profile
from tests.support.flood import INTO_POD, OUT_OF_POD, arrived, count, flooding
from tests.support.namespaces import Namespace
from tests.support.policy_node import PORT, PolicyNode, probe, serving
from tests.support.policy_programs import egress, ingress, pod, program, rule, tcp, udp
from tests.support.runtime_node import Node, eventually

Make = Callable[[], Namespace]
TRY_AGAIN_LATER = 11


def lose_the_database(node: Node) -> None:
    for path in (node.socket_dir / "state").glob("state.db*"):
        path.unlink()


def have_another_table(node: Node) -> None:
    """Declare a set as another release might: nft cannot change it."""
    table = node.netns.run("nft", "-s", "list", "table", "inet", "quilt-policy")
    changed = re.sub(r"flags dynamic,timeout\n.*?\n\t}", "flags dynamic\n\t}", table, flags=re.DOTALL)
    assert changed != table
    node.netns.run("nft", "-f", "-", stdin=f"delete table inet quilt-policy\n{changed}")


def nothing(_: Node) -> None:
    pass


@pytest.mark.parametrize("meanwhile", [nothing, lose_the_database, have_another_table])
def test_a_pod_that_runs_is_never_open_over_a_restart(
    ready_node: Node, make_netns: Make, meanwhile: Callable[[Node], None]
) -> None:
    """Also with another program than before: policies changed while no runtime was there."""
    enforcing = PolicyNode(ready_node, make_netns)
    enforcing.replace(program(*(Profile(pod(name)) for name in ("web", "client", "friend"))))
    web, client, friend = (enforcing.add(name) for name in ("web", "client", "friend"))
    addresses = enforcing.addresses
    others = (Profile(pod("client")), Profile(pod("friend")))
    held = (ingress("i_1", rule("p_a")), egress("e_1"), Profile(pod("web"), "i_1", "e_1"))
    enforcing.replace(program(enforcing.of("p_a", "friend"), *held, *others))
    for one in (web, client):
        count(one)
    with (
        flooding(client, INTO_POD, addresses["web"]),
        flooding(web, OUT_OF_POD, addresses["client"]),
        serving(web),
    ):
        ready_node.kill()
        meanwhile(ready_node)
        ready_node.start()
        refused = enforcing.try_add("late", make_netns())
        assert refused.document["code"] == TRY_AGAIN_LATER
        changed = (
            ingress("i_2", rule("p_b", tcp(PORT), udp(PORT))),
            egress("e_2", rule("p_b")),
            Profile(pod("web"), "i_2", "e_2"),
        )
        enforcing.configure(True)
        enforcing.replace(program(enforcing.of("p_b", "friend"), *changed, *others))
        assert ("policies_written_again" in ready_node.log) is (meanwhile is have_another_table)
        before = arrived(web)
        assert probe(friend, addresses["web"])
        assert before == 0, "into the pod"
        assert arrived(client) == 0, "out of the pod"
        enforcing.replace(program(Profile(pod("web")), *others))
        eventually(lambda: arrived(web) and arrived(client), "the floods arrive where nothing forbids them")

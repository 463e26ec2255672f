"""`quiltctl trace`: who its ends are, what packets came to, what the API decides, and what people see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import msgspec
import pytest
from rich.console import Console

from quilt_cli.commands.trace import show
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.trace.decided import policy_step, refusal, service_step, translated
from quilt_cli.core.trace.ends import resolve, service_of
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.probed import Knock, Probed
from quilt_cli.core.trace.step import Trace, Verdict
from quilt_cli.core.trace.way import asking, trace
from quilt_policy.labels import LabelSelector
from quilt_policy.objects import Meta, NetworkPolicy, NetworkPolicySpec, Pod, PodSpec
from quilt_policy.verdicts import NodeFacts, World
from tests.support.trace_kernels import (
    POD1,
    POD2,
    SERVICE,
    Document,
    cluster,
    documents,
    link,
    looked_at,
    pod,
    way,
    without,
)


def bad(found: Trace) -> list[tuple[str, str]]:
    return [(step.code, step.what) for step in found.steps if step.verdict is Verdict.BROKEN]


# Packets that were sent


def results(**changed: Probed) -> Mapping[str, Probed | str]:
    knocks = tuple(Knock(one, "tcp", 0, True, "reached") for one in (POD1, POD2))
    well = Probed(10, 10, 10, 10, 1450, began=0.0, ended=3.0, knocks=knocks)
    return {"n1": well, "n2": well, **changed}


def test_packets_that_pass_make_sound_what_could_not_be_looked_at() -> None:
    rule = {"family": "inet", "priority": 100, "table": 52}
    assert trace(way(n1=lambda document: document["rules"].append(rule)), results()).sound is True


def test_a_direction_in_which_nothing_arrives_is_broken() -> None:
    lossy = Probed(10, 0, 10, 0, 1450, began=0.0, ended=8.0, knocks=results()["n1"].knocks)  # type: ignore[union-attr]
    found = trace(way(), results(n2=lossy))
    assert bad(found) == [("underlay", "packets n1 → n2")]


def test_silence_of_both_is_a_fault_only_where_both_ran_at_the_same_time() -> None:
    early, late = Probed(10, 0, 10, 0, began=0.0, ended=8.0), Probed(10, 0, 10, 0, began=7.5, ended=15.5)
    assert bad(trace(way(), results(n1=early, n2=late))) == []
    assert len(bad(trace(way(), results(n1=early, n2=early)))) == 2


def test_only_small_packets_arrive() -> None:
    narrow = Probed(10, 10, 10, 0, 1450, began=0.0, ended=8.0, knocks=results()["n1"].knocks)  # type: ignore[union-attr]
    found = trace(way(), results(n2=narrow))
    assert found.broken is not None
    assert (found.broken.code, found.broken.what) == ("underlay-mtu", "packets of 1450 bytes n1 → n2")
    late = msgspec.structs.replace(narrow, received=1, began=2.9, ended=10.9)
    assert bad(trace(way(), results(n2=late))) == []


def test_who_does_not_answer_is_broken_unless_a_policy_says_so() -> None:
    deaf = (Knock(POD1, "tcp", 0, True), Knock(POD2, "tcp", 8080, False, "no answer"))
    held = results(n1=Probed(10, 10, 10, 10, 1450, knocks=deaf))
    found = trace(way(), held)
    assert found.broken is not None
    assert (found.broken.code, found.broken.what) == ("answer", "default/pod2 answers n1")
    assert bad(trace(replace(way(), refusals={"n2": "default/deny"}), held)) == []


def test_what_was_counted_meanwhile_is_shown() -> None:
    def counted(document: Document) -> None:
        link(document, "vxlan100")["stats64"]["tx"]["dropped"] += 3

    before = {name: Kernel(document) for name, document in documents().items()}
    found = trace(way(n1=counted), results(), before)
    assert [(c.node, c.what, c.packets) for c in found.counters if c.packets] == [
        ("n1", "vxlan100 tx dropped", 3)
    ]


def test_each_node_probes_its_peer_and_the_pods() -> None:
    asked = asking(way())
    assert asked["n1"].arguments() == [
        *("--own=10.42.1.0", "--peer=10.42.2.0", "--size=1450"),
        *("--knock=tcp:0:10.42.1.5", "--knock=tcp:8080:10.42.2.5"),
    ]
    assert asked["n2"].peer == "10.42.1.0"


# Ends


def test_ends_are_pods_nodes_and_addresses() -> None:
    about = cluster(pods=[pod(1), pod(2), pod(2, "host", hostNetwork=True)])
    assert resolve(about, "pod1", 4) == resolve(about, POD1, 4) == resolve(about, "default/pod1", 4)
    assert str(resolve(about, "default/pod1", 6).address) == "fd42::1:5"
    assert resolve(about, "default/pod1", 6).interface == "qv0a2a0105"
    assert resolve(about, "n2", 4) == resolve(about, "192.0.2.2", 4) == resolve(about, "10.42.2.0", 4)
    host = resolve(about, "default/host", 4)
    assert (str(host.address), host.is_pod) == ("10.42.2.0", False)


@pytest.mark.parametrize("named", ["default/none", "10.42.2.77", "198.51.100.1", "n9"])
def test_who_is_nobody_is_refused(named: str) -> None:
    with pytest.raises(CannotTellError):
        resolve(cluster(), named, 4)


def test_a_services_address_is_that_of_a_ready_endpoint() -> None:
    about = cluster()
    service = service_of(about, "10.96.0.9")
    assert service is not None
    assert translated(about, service, "10.96.0.9", 80, "tcp") == (POD2, 8080)
    for port in (0, 81):
        with pytest.raises(CannotTellError):
            translated(about, service, "10.96.0.9", port, "tcp")
    with pytest.raises(CannotTellError):
        translated(cluster(slices=[]), service, "10.96.0.9", 80, "tcp")


SERVICE_CHAIN = "service-WH4ANAIS-default/db/tcp/sql"
ENDPOINTS = {"map": {"key": {"numgen": {"mod": 1}}, "data": {"set": [[0, {"concat": [POD2, 8080]}]]}}}
OLDER = "endpoint-ABCD-default/db/tcp/sql__10.42.2.5/8080"


@pytest.mark.parametrize(
    ("expressions", "verdict"),
    [
        ([{"dnat": {"family": "ip", "addr": ENDPOINTS}}], Verdict.OK),
        ([{"goto": {"target": OLDER}}], Verdict.OK),
        ([{"dnat": {"family": "ip", "addr": "10.42.2.55"}}], Verdict.BROKEN),
        (None, Verdict.UNKNOWN),
    ],
)
def test_kube_proxys_rules_are_looked_for(expressions: list[Document] | None, verdict: Verdict) -> None:
    def proxied(document: Document) -> None:
        if expressions is not None:
            rule = {"family": "ip", "table": "kube-proxy", "chain": SERVICE_CHAIN, "expr": expressions}
            document["nft"] += [{"table": {"family": "ip", "name": "kube-proxy"}}, {"rule": rule}]

    site = looked_at(cluster(), "n1", n1=proxied)[0]
    assert service_step(site, SERVICE, "10.96.0.9", 80, (POD2, 8080)).verdict is verdict


def test_iptables_rules_of_kube_proxy_count_too() -> None:
    listing = "*nat\n:KUBE-SERVICES - [0:0]\n-A KUBE-SEP-X -j DNAT --to-destination 10.42.2.5:8080\nCOMMIT"
    site = looked_at(cluster(), "n1", n1=lambda document: document.update(iptables={"ip": listing}))[0]
    assert service_step(site, SERVICE, "10.96.0.9", 80, (POD2, 8080)).verdict is Verdict.OK


def test_a_policy_that_denies_is_the_broken_step() -> None:
    policy = NetworkPolicy(
        Meta("deny", "default"), NetworkPolicySpec(LabelSelector(), policy_types=("Ingress",))
    )
    pods = {
        ip_address(f"10.42.{number}.5"): Pod(
            Meta(f"pod{number}", "default", str(number)), PodSpec(f"n{number}")
        )
        for number in (1, 2)
    }
    world = World(pods, {"default": {}}, (policy,), (), {"n2": NodeFacts()})
    about, made = cluster(world=world, enforced=True), way()
    step = policy_step(about, (made.source, made.target), made.asked)
    assert (step.verdict, step.found) == (Verdict.BROKEN, "denied, ingress: default/deny")
    assert refusal(about, made.sites[0], made.target, made.asked) == "default/deny"
    off = policy_step(replace(about, enforced=False), (made.source, made.target), made.asked)
    assert off.verdict is Verdict.OK


# What people see


def shown(found: Trace) -> str:
    out = Console(width=200, no_color=True)
    with out.capture() as captured:
        show(found, out)
    return captured.get()


def test_people_see_the_first_broken_step_and_the_command_that_shows_it() -> None:
    text = shown(trace(way(n1=without("neighbors", dst="10.42.2.0"))))
    assert "default/pod1 → default/pod2, by the overlay, vxlan100" in text
    assert "on n1: absent; see: ip neigh show 10.42.2.0 dev vxlan100   (on n1)" in text
    assert "sound: " in shown(trace(way()))
    assert "no packets were sent" not in shown(trace(way()))
    unread = shown(trace(way(n1=lambda document: document.pop("nft"))))
    assert "cannot tell: guard entry of 10.42.1.5 on n1: nft not read" in unread

"""`quiltctl trace`: the steps of a way by what two real kernels held, with what is broken in them here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quilt_cli.core.trace.site import Want
from quilt_cli.core.trace.step import Trace, Verdict
from quilt_cli.core.trace.way import trace
from quilt_crds.wire_network import QuiltNetworkSpec, VxlanSpec
from tests.support.trace_kernels import Change, Document, cluster, link, pod, way, without


def bad(found: Trace) -> list[tuple[str, str]]:
    return [(step.code, step.node) for step in found.steps if step.verdict is Verdict.BROKEN]


def test_real_kernels_of_a_sound_pair_have_every_step() -> None:
    found = trace(way())
    assert [step for step in found.steps if step.verdict is not Verdict.OK] == []
    assert (found.sound, found.exit_code, found.number) == (True, 0, None)
    assert [step.code for step in found.steps if step.node == "n1"] == [
        *("interface", "port", "guard", "bridge"),
        *(
            "tables",
            "device",
            "mtu",
            "forwarding",
            "forward",
            "nexthop",
            "route",
            "neighbor",
            "fdb",
            "host-route",
        ),
        *("input", "rp_filter", "forward"),
    ]


def down(document: Document) -> None:
    link(document, "vxlan100")["flags"] = ["BROADCAST"]


def moved_nexthop(document: Document) -> None:
    document["nexthops"][0]["gateway"] = "10.42.9.0"


def set_port(name: str, **values: object) -> Change:
    def change(document: Document) -> None:
        link(document, name)["linkinfo"]["info_slave_data"].update(values)

    return change


def set_link(name: str, **values: object) -> Change:
    return lambda document: link(document, name).update(values)


def set_sysctl(name: str, value: str) -> Change:
    return lambda document: document["sysctls"].update({name: value})


def another_mac(document: Document) -> None:
    learned = next(e for e in document["fdb"] if e["ifname"] == "qv0a2a0105" and not e["state"])
    learned["mac"] = "0a:58:00:00:00:01"


@pytest.mark.parametrize(
    ("node", "change", "code"),
    [
        ("n1", without("links", ifname="qv0a2a0105"), "interface"),
        ("n1", set_link("qv0a2a0105", flags=["UP"]), "interface"),
        ("n1", set_link("qv0a2a0105", ifalias="default/another"), "interface"),
        ("n1", set_link("qv0a2a0105", master=None), "port"),
        ("n2", set_port("qv0a2a0205", state="blocking"), "port"),
        ("n2", set_port("qv0a2a0205", hairpin=False), "port"),
        ("n2", set_port("qv0a2a0205", isolated=True), "port"),
        ("n1", another_mac, "guard"),
        ("n1", without("addresses", ifname="quilt0"), "bridge"),
        ("n1", down, "device"),
        ("n1", set_link("vxlan100", address="02:00:00:00:00:01"), "device"),
        ("n1", set_link("vxlan100", mtu=1400), "mtu"),
        ("n2", set_link("quilt0", mtu=1500), "mtu"),
        ("n1", set_link("qv0a2a0105", mtu=1500), "mtu"),
        ("n1", set_sysctl("ipv4/ip_forward", "0"), "forwarding"),
        ("n2", set_sysctl("ipv4/conf/vxlan100/forwarding", "0"), "forwarding"),
        ("n1", moved_nexthop, "nexthop"),
        ("n1", without("routes", dst="10.42.2.0/24"), "route"),
        ("n1", without("neighbors", dst="10.42.2.0"), "neighbor"),
        ("n1", without("fdb", dst="192.0.2.2"), "fdb"),
        ("n1", without("routes", dst="192.0.2.0/24"), "host-route"),
        ("n2", set_sysctl("ipv4/conf/vxlan100/rp_filter", "1"), "rp_filter"),
        ("n2", without("fdb", dst="192.0.2.1"), "fdb"),
    ],
)
def test_what_is_wrong_in_a_kernel_is_exactly_that_step(node: str, change: Change, code: str) -> None:
    found = trace(way(**{node: change}))
    assert bad(found)[0] == (code, node)
    assert found.broken is not None
    assert found.broken.see
    assert (found.sound, found.exit_code) == (False, 1)


def test_an_object_that_went_took_its_route_along_and_is_named() -> None:
    def gone(document: Document) -> None:
        without("routes", dst="10.42.2.0/24")(document)
        document["nexthops"] = []

    assert bad(trace(way(n1=gone))) == [("nexthop", "n1"), ("route", "n1")]


def test_a_route_without_an_object_is_as_good() -> None:
    """Kernels before 5.3 have none."""

    def plain(document: Document) -> None:
        document["nexthops"] = []
        for route in document["routes"]:
            route.pop("nhid", None)

    assert trace(way(n1=plain, n2=plain)).sound is True


def test_another_route_that_precedes_is_named() -> None:
    def stolen(document: Document) -> None:
        route = {"family": "inet", "dst": "10.42.2.0/25", "table": 254, "dev": "eth0", "gateway": "192.0.2.9"}
        document["routes"].append(route)

    found = trace(way(n1=stolen))
    assert bad(found) == [("route", "n1")]
    assert found.broken is not None
    assert "10.42.2.0/25" in found.broken.found


def test_rules_that_come_first_are_not_judged() -> None:
    rule = {"family": "inet", "priority": 100, "table": 52, "fwmark": 1}
    found = trace(way(n1=lambda document: document["rules"].append(rule)))
    unknown = [step for step in found.steps if step.verdict is Verdict.UNKNOWN]
    assert [(step.code, step.found) for step in unknown] == [("tables", "100: fwmark 1 table 52")]
    assert (found.sound, found.exit_code) == (None, 2)


def test_a_node_that_does_not_answer_is_not_known() -> None:
    made = way()
    silent = replace(made.sites[1], kernel=None, silent="n2 hangs")
    found = trace(replace(made, sites=(made.sites[0], silent)))
    assert bad(found) == []
    assert {step.found for step in found.steps if step.verdict is Verdict.UNKNOWN} == {"n2 hangs"}
    assert found.exit_code == 2


def test_what_a_document_lacks_is_not_known() -> None:
    def unread(document: Document) -> None:
        del document["nft"]
        document["missing"] = {"nft": "there is no nft here"}

    found = trace(way(n1=unread))
    reasons = {step.found for step in found.steps if step.verdict is Verdict.UNKNOWN}
    assert reasons == {"nft not read: there is no nft here"}


def test_one_node_is_a_shorter_way() -> None:
    other = {**pod(1, "web"), "status": {"phase": "Running", "podIPs": [{"ip": "10.42.1.6"}]}}
    found = trace(way("default/pod1", "default/web", cluster(pods=[pod(1), other])))
    assert {step.code for step in found.steps} == {
        *("interface", "port", "guard", "bridge", "forwarding", "forward", "pod-neighbor"),
    }
    assert bad(found) == [("interface", "n1"), ("port", "n1"), ("guard", "n1")]


def test_a_shared_link_needs_no_overlay() -> None:
    def direct(host: str, subnet: str) -> Change:
        def change(document: Document) -> None:
            document["sysctls"]["ipv4/conf/eth0/forwarding"] = "1"
            document["nexthops"] = [{"id": 7, "protocol": 81, "gateway": host, "dev": "eth0"}]
            for route in document["routes"]:
                if route["dst"] == subnet:
                    route.update(nhid=7, gateway=host, dev="eth0")

        return change

    made = way(n1=direct("192.0.2.2", "10.42.2.0/24"), n2=direct("192.0.2.1", "10.42.1.0/24"))
    found = trace(replace(made, want=Want(QuiltNetworkSpec(vxlan=VxlanSpec(direct_routing=True)))))
    assert found.way == "without the overlay, by eth0"
    assert bad(found) == []
    assert not {"neighbor", "fdb", "device", "mtu", "rp_filter"} & {step.code for step in found.steps}

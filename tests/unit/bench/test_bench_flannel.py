"""The peer that benchmarks measure beside the product: pinned, and notified of peers as it expects to be."""

from __future__ import annotations

import json

from bench import flannel, peers


def test_the_version_it_reports_is_the_one_that_is_pinned() -> None:
    text = (flannel.TOOL.module / "go.mod").read_text()
    assert f"\t{flannel.PACKAGE} v{flannel.VERSION} " in text
    assert f"tool {flannel.PACKAGE}\n" in text


def test_a_peers_node_leads_to_the_same_entries_as_its_claim() -> None:
    node, claim = flannel.peer_node(5001), peers.peer_claim(5001)
    values = {key.rpartition("/")[2]: value for key, value in node["metadata"]["annotations"].items()}
    assert node["spec"]["podCIDRs"] == [claim["spec"]["cidr"]]
    assert node["metadata"]["name"] == claim["spec"]["node"]
    assert values["public-ip"] == claim["mesh"]["hostIP"]
    assert json.loads(values["backend-data"]) == {"VNI": 1, "VtepMAC": peers.peer(5001).mac}
    assert values["backend-type"] == flannel.NETWORK["Backend"]["Type"]

"""What accounts of the chart may do."""

from __future__ import annotations

import pytest

from tests.support.helm import Helm
from tests.support.rights import documented, rights


@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("endpoints", [False, True])
def test_an_agent_may_what_the_page_says(helm: Helm, *, endpoints: bool, policy: bool) -> None:
    values = {"network": {"endpoints": {"enabled": endpoints}, "policy": {"enabled": policy}}}
    roles = [
        item
        for item in helm.objects(values).values()
        if item["kind"] in {"Role", "ClusterRole"} and item["metadata"]["name"] == "quilt-agent"
    ]
    found = {
        right for role in roles for right in rights(role["rules"], role["metadata"].get("namespace", ""))
    }
    assert found == documented(endpoints=endpoints, policy=policy)

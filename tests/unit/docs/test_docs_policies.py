"""The policies on the page are policies, and do what the sentence before each says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.objects import NetworkPolicy
from quilt_policy.selectors import wanted
from tests.support.pages import ROOT, blocks

PAGE = ROOT / "docs/network-policies.md"
KINDS: dict[str, Any] = {
    "networking.k8s.io/v1 NetworkPolicy": NetworkPolicy,
    "policy.networking.k8s.io/v1beta1 ClusterNetworkPolicy": ClusterNetworkPolicy,
}


def examples() -> list[Any]:
    texts = [text for page, text in blocks("yaml") if page == PAGE]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def test_there_are_ten_examples_of_which_every_field_is_read() -> None:
    found = examples()
    assert len(found) == 10
    for raw in found:
        policy = msgspec.convert(raw, KINDS[f"{raw['apiVersion']} {raw['kind']}"])
        assert covered(raw["spec"], msgspec.to_builtins(policy.spec)), raw["metadata"]["name"]


def covered(raw: Any, read: Any) -> bool:
    """Whether what was read has all that is written."""
    if isinstance(raw, dict):
        return isinstance(read, dict) and all(key in read and covered(raw[key], read[key]) for key in raw)
    if isinstance(raw, list):
        return len(raw) == len(read) and all(map(covered, raw, read))
    return bool(raw == read)


def test_selectors_of_the_examples_are_those_that_the_sentences_name() -> None:
    policies = [msgspec.convert(raw, NetworkPolicy) for raw in examples() if raw["kind"] == "NetworkPolicy"]
    selectors = {policy.name: sorted(one.text for one in wanted([policy])) for policy in policies}
    assert {name for name, texts in selectors.items() if not texts} == {"nobody-in", "internet", "media"}
    assert '"db"' not in selectors["web-to-db"][0]
    assert '"web"' in selectors["web-to-db"][0]


def test_the_names_of_the_examples_are_different() -> None:
    names = [raw["metadata"]["name"] for raw in examples()]
    assert len(set(names)) == len(names)


def reports() -> Iterator[str]:
    """Reports of others in the table, as names of tests have them."""
    _, _, table = PAGE.read_text().partition("## Faults of other networks")
    for row in re.findall(r"^\| [^|]* \| ([^|]*#[^|]*) \|", table, re.MULTILINE):
        project = ""
        for one in row.split(", "):
            name, _, number = one.rpartition("#")
            project = name.strip().lower().replace("-", "_") or project
            yield f"{project}_{number}"


def test_every_report_of_others_is_in_the_name_of_a_test() -> None:
    files = (ROOT / "tests").rglob("test_*.py")
    names = [name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())]
    shown = {one for name in names for one in carried(name)}
    wanted = set(reports())
    assert len(wanted) > 60
    assert wanted <= shown, sorted(wanted - shown)


def carried(name: str) -> Iterator[str]:
    """Each number of a name with the words before it: of `antrea_5681_5687` also `antrea_5687`."""
    words = name.split("_")
    for at, word in enumerate(words):
        if word.isdecimal():
            begin = at
            while words[begin].isdecimal():
                begin -= 1
            yield from ("_".join([*words[first : begin + 1], word]) for first in range(begin + 1))

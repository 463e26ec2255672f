"""Helm commands of the pages: Helm knows the flags, and the chart renders with the values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from tests.support.helm import CHART, Helm
from tests.support.pages import ROOT, Command, blocks, commands

HELM = [one for one in commands() if one.words[0] == "helm" and len(one.words) > 1 and "…" not in one.words]


def settings(words: tuple[str, ...]) -> Iterator[str]:
    """The values of `--set`, as arguments."""
    for flag, value in pairwise(words):
        if flag == "--set":
            yield from (flag, value)


def loose() -> Iterator[tuple[str, ...]]:
    """What pages tell to add to a command: `--set` alone in the text, one or several."""
    for page in sorted(ROOT.glob("docs/**/*.md")):
        for span in re.findall(r"`(--set [^`]+)`", page.read_text()):
            yield tuple(span.replace("'", "").split())


def verb(one: Command) -> tuple[str, ...]:
    """What a command of Helm's does, in one word or, with `get`, two."""
    return one.words[1:3] if one.words[1] == "get" else one.words[1:2]


def test_every_flag_is_helms(helm: Helm) -> None:
    assert len(HELM) > 20
    for name in sorted({verb(one) for one in HELM}):
        shown = helm.run(*name, "--help")
        assert shown.returncode == 0, name
        known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown.stdout))
        for one in HELM:
            if verb(one) == name:
                flags = {word.partition("=")[0] for word in one.words[2:] if word.startswith("-")}
                assert flags <= known, str(one)


def rendered(helm: Helm, *arguments: str) -> str:
    done = helm.run("template", "quilt", str(CHART), *arguments)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("one", [one for one in HELM if "--set" in one.words], ids=str)
def test_the_chart_renders_with_the_values_of_a_command(helm: Helm, one: Command) -> None:
    assert rendered(helm, *settings(one.words)) == ""


@pytest.mark.parametrize("words", sorted(set(loose())), ids=" ".join)
def test_the_chart_renders_with_values_that_a_page_adds(helm: Helm, words: tuple[str, ...]) -> None:
    # A digest is shortened on a page.
    assert rendered(helm, *(word.replace("sha256:…", f"sha256:{'0' * 64}") for word in words)) == ""


def test_a_value_that_does_not_exist_is_found(helm: Helm) -> None:
    assert "additional properties" in rendered(helm, "--set", "network.vxlan.prot=1")


def objects() -> Iterator[dict[str, Any]]:
    for _, text in blocks("yaml"):
        yield from (document for document in yaml.safe_load_all(text) if document)


def test_values_in_manifests_of_gitops_exist(helm: Helm) -> None:
    found = [
        document["spec"].get("values") or document["spec"]["source"]["helm"]["valuesObject"]
        for document in objects()
        if document.get("kind") in ("HelmRelease", "Application")
    ]
    assert found
    for values in found:
        helm.template(values)

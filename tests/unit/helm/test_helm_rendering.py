"""Each value of the chart reaches its place, alone and together with all others; two renders are the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart_cases import ABSENT, CASES, Case
from tests.support.chart_values import merged, nested

CHART = Path(__file__).parents[3] / "helm/quilt-mesh"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

Objects = dict[str, dict[str, Any]]
Render = Callable[..., Objects]


def leaves(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """The paths of all values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def found(objects: Objects, name: str, way: str) -> Any:
    """What is at a place; members of a list are found by their name or number."""
    value: Any = objects.get(name, ABSENT)
    if name == "ConfigMap/quilt-network":
        value = json.loads(value["data"]["network.json"])
    for key in way.split():
        if isinstance(value, dict):
            value = value.get(key, ABSENT)
        elif isinstance(value, list):
            numbered = {str(number): item for number, item in enumerate(value)}
            value = ({item.get("name"): item for item in value} | numbered).get(key, ABSENT)
        else:
            return ABSENT
    return value


def holds(there: Any, expected: Any) -> bool:
    """Whether a place holds what is expected: texts as a part, members of a list as one of them."""
    if isinstance(there, list) and not isinstance(expected, list):
        return any(holds(item, expected) for item in there)
    if isinstance(there, str) and isinstance(expected, str):
        return expected in there
    return bool(there is expected or there == expected)


def test_every_value_has_a_case() -> None:
    paths = {one.path for one in CASES}
    uncovered = [
        leaf for leaf in leaves(VALUES) if not any(f"{leaf}.".startswith(f"{path}.") for path in paths)
    ]
    assert uncovered == []


@pytest.fixture(scope="session")
def defaults(render: Render) -> Objects:
    return render()


@pytest.fixture(scope="session")
def together(render: Render) -> Objects:
    return render(merged(*(merged(one.needs, nested(one.path, one.value)) for one in CASES if not one.alone)))


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.path)
def test_a_value_reaches_its_place(render: Render, defaults: Objects, together: Objects, one: Case) -> None:
    alone = render(merged(one.needs, nested(one.path, one.value)))
    for name, way, expected in one.places:
        assert not holds(found(defaults, name, way), expected), f"{name} {way} is so by default"
        assert holds(found(alone, name, way), expected), f"{name} {way}: {found(alone, name, way)}"
        if not one.alone:
            assert holds(found(together, name, way), expected), f"{name} {way}, with all others"

"""What the token of an agent may do: as docs/architecture.md says, and as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

from tests.support.pages import ROOT

PAGE = ROOT / "docs/architecture.md"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"


class Right(NamedTuple):
    """One verb on one resource; without a namespace in all of them."""

    group: str
    resource: str
    verb: str
    namespace: str = ""


def documented(*, endpoints: bool, policy: bool) -> set[Right]:
    """The rows of the page's table that hold with these switches of `network`."""
    on = {"network.endpoints": endpoints, "network.policy": policy}
    found: set[Right] = set()
    for row in (
        PAGE.read_text().partition("| API group | resources |")[2].partition("\n\n")[0].splitlines()[2:]
    ):
        cells = [cell.strip().replace("`", "") for cell in row.strip("|").split("|")]
        group, resources, verbs, namespace, switches = cells
        if not switches or any(on[name] for name in switches.split(" or ")):
            every = product(["" if group == "core" else group], _listed(resources), _listed(verbs))
            found |= {Right(*one, namespace) for one in every}
    return found


def _listed(cell: str) -> list[str]:
    return cell.split(", ")


def rights(rules: Iterable[dict[str, Any]], namespace: str = "") -> Iterator[Right]:
    """What rules of a Role, or of a review, allow; a rule for some objects alone has their names with it."""
    for rule in rules:
        names = "".join(f" {name}" for name in rule.get("resourceNames", ()))
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            yield Right(group, resource + names, verb, namespace)

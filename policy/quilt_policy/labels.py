"""Kubernetes' label selectors (apimachinery, meta/v1 LabelSelector and labels.Requirement)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Term: TypeAlias = tuple[str, str, tuple[str, ...]]
"""One requirement in canonical form: key, operator, sorted values."""

Terms: TypeAlias = tuple[Term, ...]
"""What has to hold, all of it: sorted, without doubles; none of them select everything."""


class Requirement(msgspec.Struct, frozen=True):
    """One of matchExpressions; `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """Selects by labels; one without anything selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    @property
    def terms(self) -> Terms:
        """Its canonical form, equal for selectors that are written differently and mean the same."""
        terms: set[Term] = {(key, "In", (value,)) for key, value in self.match_labels.items()}
        terms.update(
            (wanted.key, wanted.operator, tuple(sorted(set(wanted.values))))
            for wanted in self.match_expressions
        )
        return tuple(sorted(terms))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return matches(self.terms, labels)


def matches(terms: Terms, labels: Mapping[str, str]) -> bool:
    """Whether all terms hold for these labels; a term with an unknown operator holds for nothing."""
    return all(_holds(key, operator, values, labels) for key, operator, values in terms)


def _holds(key: str, operator: str, values: tuple[str, ...], labels: Mapping[str, str]) -> bool:
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":  # what has no such label is selected
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False

"""Conditions, as in the Kubernetes API conventions: what holds now, why, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from quilt_crds.base import ApiModel, Int

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One observation about an object; `type` is its key in the list."""

    type: str = Field(min_length=1, max_length=64)
    """What is observed, in CamelCase."""
    status: ConditionStatus
    """Whether it is so."""
    reason: str = Field(min_length=1, max_length=64)
    """One CamelCase word for machines."""
    message: str = Field(default="", max_length=1024)
    """A sentence for people: what is so, and what to do about it."""
    last_transition_time: AwareDatetime
    """When `status` last changed."""
    observed_generation: Int | None = None
    """The `metadata.generation` that the observation is about."""


# Keyed by type, so that server-side apply gives each writer its own conditions in one list.
Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def upsert_condition(
    conditions: Iterable[Condition],
    type_: str,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    now: datetime,
    observed_generation: int | None = None,
) -> list[Condition]:
    """`conditions` with this one in it, in a stable order; the time moves only when `status` changes.

    Equal input gives an equal list, so that a caller can compare and leave out a write that says nothing new.
    A message longer than the API allows is cut, not refused.
    """
    held = list(conditions)
    old = find_condition(held, type_)
    since = old.last_transition_time if old and old.status == status else now.replace(microsecond=0)
    new = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message if len(message) <= 1024 else message[:1023] + "…",
        last_transition_time=since,
        observed_generation=observed_generation,
    )
    if old is None:
        return [*held, new]
    return [new if condition.type == type_ else condition for condition in held]

"""Conditions, as in the Kubernetes API conventions: what holds now, why, and since when."""

from __future__ import annotations

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

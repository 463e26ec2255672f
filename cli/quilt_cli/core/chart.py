"""What an upgrade brings: the version, the CRDs and the values of a chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quilt_cli.core.known_fields import Schema
from quilt_crds.definitions import DEFINITIONS


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart to upgrade to: `crds` maps names to schemas; None of `values` is a schema not known."""

    version: str
    crds: Mapping[str, Schema]
    values: Schema | None = None


def own_chart(version: str) -> Chart:
    """The chart of this command's own version, whose CRDs it has built in."""
    return Chart(version, {one.resource.crd_name: one.schema() for one in DEFINITIONS})


def schema_of(crd: Mapping[str, Any], version: str) -> Schema:
    """The schema that a CustomResourceDefinition has for a version; empty where it has none."""
    versions = (crd.get("spec") or {}).get("versions") or ()
    found: Mapping[str, Any] = next((item for item in versions if item.get("name") == version), {})
    return dict((found.get("schema") or {}).get("openAPIV3Schema") or {})

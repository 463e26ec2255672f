"""The part of the chart's `values.schema.json` that is the QuiltNetwork's spec, from the CRD's schema.

Helm checks values against plain JSON Schema before anything reaches the API server. What the CRD says by
rules of Kubernetes alone is written here for Helm.
"""

from __future__ import annotations

import json
from typing import Any

from quilt_crds.definitions import NETWORK

Schema = dict[str, Any]

_PLAIN = ("type", "minimum", "maximum", "enum", "minItems", "maxItems", "maxLength", "pattern")
_FOR_HELM: dict[str, Schema] = {
    "clusterCIDRs.items": {"pattern": "^[0-9.]+/[0-9]+$"},
    # Empty in the chart means: no such field in the object.
    "clusterCIDRsV6": {"minItems": 0},
    "clusterCIDRsV6.items": {"pattern": "^[0-9a-f][0-9a-f:]*:[0-9a-f:]*/[0-9]+$"},
    "underlay.cidrs.items": {"pattern": "^[0-9a-f:.]+/[0-9]+$"},
    "vxlan.mtu": {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1280, "maximum": 65000}]},
}


def with_network(text: str) -> str:
    """Return the text of a `values.schema.json` with the schema of `network` as the CRD has it."""
    schema = json.loads(text)
    spec = NETWORK.schema()["properties"]["spec"]
    network = {"description": "Spec of the QuiltNetwork named default.", **_plain(spec, "")}
    schema["properties"]["network"] = network
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(api: Schema, path: str) -> Schema:
    found = {key: api[key] for key in _PLAIN if key in api} | _FOR_HELM.get(path, {})
    if api.get("type") == "array":
        found |= {"uniqueItems": True, "items": _plain(api["items"], f"{path}.items")}
    if "properties" in api:
        inner = {name: _plain(part, f"{path}.{name}".lstrip(".")) for name, part in api["properties"].items()}
        found |= {"additionalProperties": False, "properties": inner}
    return found

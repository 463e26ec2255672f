"""The CustomResourceDefinitions of network policies: who has which address, and who is behind a selector."""

from __future__ import annotations

from quilt_crds.definition import AGE, Definition, column, rule
from quilt_crds.names import QUILTENDPOINTS, QUILTPEERS
from quilt_crds.quiltendpoints import QuiltEndpoints
from quilt_crds.quiltpeers import QuiltPeers

ENDPOINTS = Definition(
    resource=QUILTENDPOINTS,
    model=QuiltEndpoints,
    status_subresource=False,
    columns=(column("Pods", ".spec.pods", "integer"), AGE),
    rules={
        "": (rule("self.metadata.name == self.spec.node", "metadata.name must be spec.node"),),
        "spec": (
            rule(
                "(has(self.pods) ? self.pods : 0) == (has(self.endpoints) ? self.endpoints.size() : 0)",
                "pods must be the number of endpoints",
            ),
        ),
    },
)

PEERS = Definition(
    resource=QUILTPEERS,
    model=QuiltPeers,
    status_subresource=False,
    columns=(
        column("Selector", ".spec.selector"),
        column("Of", ".spec.of", "integer"),
        column("Others", ".spec.complement", "boolean"),
        AGE,
    ),
    rules={},
)

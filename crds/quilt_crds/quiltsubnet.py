"""QuiltSubnet: the claim of one node to one subnet, and the mesh's route table.

Named by its CIDR, so that creating it is the claim: etcd lets exactly one creator win. Written by the
operator alone and without a status subresource, so that claim and publication are one request.
"""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from quilt_crds.base import ApiModel, ObjectMeta
from quilt_crds.cidrs import Cidr, IPOrEmpty
from quilt_crds.names import DOWN, RELEASING, UP


class QuiltSubnetSpec(ApiModel):
    """The claim; immutable."""

    cidr: Cidr
    """The node subnet; the object's name is this with `/` and `:` as `-`."""
    network: str = Field(min_length=1, max_length=63)
    """Name of the QuiltNetwork that the subnet is cut from."""
    node: str = Field(min_length=1, max_length=253)
    """Name of the Node that owns the subnet."""


class Mesh(ApiModel):
    """What every agent needs of this subnet's node."""

    phase: str = Field(json_schema_extra={"enum": [UP, DOWN, RELEASING]})
    """What peers do with a subnet: route to it (Up), not route to it, or wait for its end."""
    host_ip: IPOrEmpty = ""
    """Confirmed underlay address of the node; empty until confirmed, and no peer routes to it until then."""
    released_at: AwareDatetime | None = None
    """Begin of the grace period; set while Releasing."""


class QuiltSubnet(ApiModel):
    """The claim of one node to one subnet."""

    metadata: ObjectMeta
    spec: QuiltSubnetSpec
    mesh: Mesh

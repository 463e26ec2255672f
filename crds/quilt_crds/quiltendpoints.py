"""QuiltEndpoints: which pods of one node have an address now, under the name of the node.

Written by the node's agent from the runtime's record, at a pod's ADD and DEL: earlier than the kubelet's
status, and without a pod that has ended but not yet gone.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quilt_crds.base import ApiModel, Int, ObjectMeta

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

Address = Annotated[str, Field(max_length=15, json_schema_extra={"pattern": rf"^({_OCTET}\.){{3}}{_OCTET}$"})]


class Endpoint(ApiModel):
    """One pod."""

    uid: str = Field(max_length=64)
    """metadata.uid of the Pod."""
    namespace: str = Field(max_length=63)
    """Its namespace."""
    name: str = Field(max_length=253)
    """Its name."""
    address: Address
    """Its IPv4 address; that of IPv6 follows from it."""


# As many as a /20 has addresses, and 1 MB. Replaced as a whole: it has one writer.
Endpoints = Annotated[
    list[Endpoint], Field(max_length=4096, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]


class QuiltEndpointsSpec(ApiModel):
    """The node's pods."""

    node: str = Field(min_length=1, max_length=253)
    """Name of the node, as of the object."""
    pods: Int = Field(default=0, ge=0, le=4096)
    """How many there are, for display."""
    endpoints: Endpoints = Field(default=[])
    """The pods, in the order of their addresses."""


class QuiltEndpoints(ApiModel):
    """Which pods of one node have an address now."""

    metadata: ObjectMeta
    spec: QuiltEndpointsSpec

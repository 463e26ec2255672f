"""QuiltPeers: the addresses of the pods behind one selector of network policies, in slices.

Written by the operator, named `<hash>-<slice>`. Every reader computes the selector's hash, as it does a VTEP
MAC, and finds the slices by the label `quilt.io/selector`: this hash, or for one number of a named port the
hash of the selector without the number, which nobody knows before there are pods.
"""

from __future__ import annotations

from pydantic import Field

from quilt_crds.base import ApiModel, Bool, Int, ObjectMeta
from quilt_crds.names import SLICE_SIZE

# Base64 of four bytes each.
_V4_LENGTH = -(-4 * SLICE_SIZE // 3) * 4


class QuiltPeersSpec(ApiModel):
    """One slice of the addresses."""

    of: Int = Field(ge=1, le=1 << 20)
    """Into how many slices the selector's addresses are divided; that of slice 0 counts while they differ."""
    selector: str = Field(max_length=65536)
    """The selector as canonical JSON, of which the hash is made."""
    v4: str = Field(
        default="", max_length=_V4_LENGTH, json_schema_extra={"pattern": "^[A-Za-z0-9+/]*={0,2}$"}
    )
    """Base64 of the IPv4 addresses of this slice, 4 bytes each, ascending. Those of IPv6 follow from them."""
    complement: Bool = False
    """Whether these are the pods that the selector does not select, as of all slices once they agree."""


class QuiltPeers(ApiModel):
    """The addresses of the pods behind one selector of network policies."""

    metadata: ObjectMeta
    spec: QuiltPeersSpec

"""Addresses of the cluster that no route leads to are refused, not sent to the default gateway in clear.

One `unreachable` route for each of the cluster's CIDRs, of the lowest preference that there is: any other
route of the same prefix goes before it, whoever's it is. Whoever sends to a peer that is Down, or not known
yet, learns it at once (ICMP host unreachable) and nobody outside sees the packet.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from quilt_netlink import Delete, Failure, KernelLike, Op, Put, Unreachable
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import PROTOCOL_MESH

LOWEST_PREFERENCE = 0xFFFFFFFF
# A kernel without IPv6 sends nothing of it in clear either.
_NO_SUCH_FAMILY = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV)


def ensure(kernel: KernelLike, cidrs: Iterable[str]) -> list[str]:
    """Have exactly these CIDRs refused; returns what was made, raises RequestError and NetlinkError."""
    wanted = {Unreachable(cidr, PROTOCOL_MESH, LOWEST_PREFERENCE) for cidr in cidrs}
    held = set(kernel.unreachables(PROTOCOL_MESH))
    ops: list[Op] = [*map(Put, wanted - held), *map(Delete, held - wanted)]
    failures = [failure for failure in kernel.apply(ops) if _counts(failure)]
    if failures:
        raise RequestError(f"Kernel refused {failures[0].op.entry}: {failures[0].message}", retryable=True)
    return ["unreachable"] * len(wanted - held)


def _counts(failure: Failure) -> bool:
    entry = failure.op.entry
    v6 = isinstance(entry, Unreachable) and ":" in entry.prefix
    no_such_family = v6 and failure.errno in _NO_SUCH_FAMILY
    return not no_such_family and not (isinstance(failure.op, Delete) and failure.absent)

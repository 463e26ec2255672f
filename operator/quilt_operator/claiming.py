"""Getting a subnet: choose, create, and let the API server decide who was first.

The name of a claim is its CIDR, so of any number of creators exactly one succeeds. A taken name is not an
error but knowledge: it is entered in the book and the next subnet tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from quilt_crds.names import QUILTSUBNET, claim_name
from quilt_crds.vtep import vtep_mac
from quilt_operator import metrics
from quilt_operator.api.client import ApiError
from quilt_operator.api.objects import Objects
from quilt_operator.core import parse
from quilt_operator.core.claims import MAC_COLLISION, Book
from quilt_operator.core.model import Claim, Mesh, MeshNode
from quilt_operator.core.plan import CIDRS
from quilt_operator.core.status import Refusal
from quilt_operator.world import World

log = structlog.get_logger()


@dataclass
class Claimer:
    """Makes claims for nodes."""

    world: World
    objects: Objects

    async def claim(
        self, book: Book, owner: MeshNode, family: int, wanted: str, mesh: Mesh
    ) -> Claim | Refusal:
        """A subnet of `family` for `owner`: `wanted` if that is given, else the lowest that is free.

        A node whose claim somebody deleted gets the subnet again that its status shows: its pods use it.
        Answers a Refusal when there is none to have; raises ApiError or Unreachable when asking failed.
        """
        node = owner.name
        former = next((cidr for cidr in owner.subnets if book.is_free(cidr, family)), "")
        other = book.mac_holder(vtep_mac(self.world.network, node), node)
        if other is not None:
            return Refusal(
                MAC_COLLISION, f"derives the same VTEP MAC as node {other}; give one of them another name"
            )
        while True:
            cidr = wanted or former or str(book.lowest_free(family) or "")
            former = ""
            if not cidr:
                return _exhausted(book, family)
            holder = book.holder(cidr) if wanted else None
            if holder is not None:
                return Refusal("SubnetTaken", f"spec.subnet {cidr} is held by node {holder.node}")
            made = await self._create(book, cidr, node, mesh)
            if not isinstance(made, Claim) or made.node == node:
                return made
            if wanted:
                return Refusal("SubnetTaken", f"spec.subnet {cidr} is held by node {made.node}")

    async def _create(self, book: Book, cidr: str, node: str, mesh: Mesh) -> Claim | Refusal:
        """The claim that stands on `cidr` afterwards, whoever owns it."""
        # Entered before it exists, so that other workers choose other subnets meanwhile.
        pending = Claim(claim_name(cidr), cidr, book.plan.network, node, mesh)
        book.put(pending)
        try:
            raw = await self._post(pending)
        except ApiError as error:
            if not error.refused:
                raise
            log.error("claim_refused", cidr=cidr, node=node, error=error.message)
            return Refusal("ClaimRefused", error.message)
        finally:
            if book.get(pending.name) is pending:
                book.remove(pending.name)
        self.world.observe(QUILTSUBNET.plural, raw)
        claim = parse.claim(raw)
        # The plan may have been replaced meanwhile, and with it the book: this one must know all the same.
        if book.get(claim.name) is None:
            book.put(claim)
        return claim

    async def _post(self, claim: Claim) -> dict[str, object]:
        while True:
            try:
                raw = await self.objects.create_claim(claim.cidr, claim.network, claim.node, claim.mesh)
            except ApiError as error:
                if not error.exists:
                    raise
                metrics.CLAIM_CONFLICTS.inc()
                found = await self.objects.claim(claim.name)
                if found is not None:
                    return found
                continue  # Deleted between the two requests: it is free again.
            log.info("claim_created", cidr=claim.cidr, node=claim.node, phase=claim.mesh.phase)
            return raw


def _exhausted(book: Book, family: int) -> Refusal:
    counts = book.counts(family)
    return Refusal(
        "Exhausted",
        f"no IPv{family} subnet is free: {counts.total} in all, {counts.allocated} allocated, "
        f"{counts.quarantined} in quarantine; extend {CIDRS[family]} of QuiltNetwork {book.plan.network}",
    )

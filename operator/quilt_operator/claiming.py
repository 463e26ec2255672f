"""Getting a subnet: choose, create, and let the API server decide who was first.

The name of a claim is its CIDR, so of any number of creators exactly one succeeds. A taken name is not an
error but knowledge: it is entered in the book and the next subnet tried.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from quilt_crds.names import QUILTSUBNET, claim_name, vtep_mac
from quilt_crds.wire import Mesh, Meta, QuiltNode, QuiltSubnet, SubnetSpec
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.core.claims import MAC_COLLISION, Book
from quilt_operator.core.plan import CIDRS, Plan
from quilt_operator.core.status import Refusal
from quilt_operator.world import World

# Seconds until a wish that the API server refused is sent again: only its rules could have changed.
_ASK_AGAIN = 5.0
_ASK_AT_LEAST = 60.0


@dataclass(frozen=True, slots=True)
class _Refused:
    """A claim that the API server would not have, and until when (monotonic) it is not asked again."""

    cidr: str
    plan: Plan
    refusal: Refusal
    pause: float
    until: float


@dataclass
class Claimer:
    """Makes claims for nodes."""

    world: World
    client: Client
    _refused: dict[tuple[str, int], _Refused] = field(default_factory=dict, init=False)

    def forget(self, node: str) -> None:
        """The node is gone."""
        for family in (4, 6):
            self._refused.pop((node, family), None)

    async def claim(
        self, book: Book, owner: QuiltNode, family: int, wanted: str, mesh: Mesh
    ) -> QuiltSubnet | Refusal:
        """A subnet of `family` for `owner`: `wanted` if that is given, else the lowest that is free.

        A node whose claim somebody deleted gets the subnet again that its status shows: its pods use it.
        Answers a Refusal when no subnet can be had; raises ApiError or UnreachableError when asking failed.
        """
        node = owner.name
        former = next((cidr for cidr in owner.status.subnets if book.is_free(cidr, family)), "")
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
            before = self._remembered(node, family, cidr, book.plan)
            if wanted and before is not None and time.monotonic() < before.until:
                return before.refusal
            made = await self._create(book, cidr, node, mesh)
            if isinstance(made, Refusal):
                self._note(node, family, cidr, book.plan, made)
                return made
            if made.node == node:
                self._refused.pop((node, family), None)
                return made
            if wanted:
                return Refusal("SubnetTaken", f"spec.subnet {cidr} is held by node {made.node}")

    def _remembered(self, node: str, family: int, cidr: str, plan: Plan) -> _Refused | None:
        before = self._refused.get((node, family))
        return before if before is not None and (before.cidr, before.plan) == (cidr, plan) else None

    def _note(self, node: str, family: int, cidr: str, plan: Plan, refusal: Refusal) -> None:
        """Remember a refusal; only the first of several that say the same is logged."""
        before = self._remembered(node, family, cidr, plan)
        pause = min(_ASK_AT_LEAST, 2 * before.pause) if before is not None else _ASK_AGAIN
        self._refused[node, family] = _Refused(cidr, plan, refusal, pause, time.monotonic() + pause)
        if before is None or before.refusal != refusal:
            log.error("claim_refused", cidr=cidr, node=node, error=refusal.message)

    async def _create(self, book: Book, cidr: str, node: str, mesh: Mesh) -> QuiltSubnet | Refusal:
        """The claim of `cidr` afterwards, of whatever owner."""
        # Entered before it exists, so that other workers choose other subnets meanwhile.
        pending = QuiltSubnet(Meta(claim_name(cidr)), SubnetSpec(cidr, book.plan.network, node), mesh)
        book.put(pending)
        try:
            raw = await self._post(pending)
        except ApiError as error:
            if not error.refused:
                raise
            return Refusal("ClaimRefused", error.message)
        finally:
            if book.get(pending.name) is pending:
                book.remove(pending.name)
        self.world.observe(QUILTSUBNET.plural, raw)
        claim = convert(raw, QuiltSubnet)
        # The plan may have been replaced meanwhile, and with it the book: this one must know all the same.
        if book.get(claim.name) is None:
            book.put(claim)
        return claim

    async def _post(self, claim: QuiltSubnet) -> dict[str, object]:
        while True:
            try:
                raw = await self.client.create_claim(claim)
            except ApiError as error:
                if not error.exists:
                    raise
                metrics.CLAIM_CONFLICTS.inc()
                found = await self.client.find(QUILTSUBNET.path(claim.name))
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

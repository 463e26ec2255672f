"""What leads from one program to the next, as a value: `PolicyChange` of policy.proto, field by field."""

from __future__ import annotations

from dataclasses import dataclass, field

from quilt_policy.program import AddressSet, Chain, Members, PodName, Profile


@dataclass(frozen=True, slots=True)
class MembersChange:
    """Addresses that enter and leave a set which is there and is not of ranges."""

    name: str
    add: Members = field(default_factory=Members)
    remove: Members = field(default_factory=Members)


@dataclass(frozen=True, slots=True)
class Change:
    """What is new, different or gone; applied as a whole.

    `sets` has new ones, and of ranges also replaced ones; `chains` new ones, as chains never change; `pods`
    those whose profile is new or different.
    """

    sets: tuple[AddressSet, ...] = ()
    members: tuple[MembersChange, ...] = ()
    chains: tuple[Chain, ...] = ()
    pods: tuple[Profile, ...] = ()
    gone_pods: tuple[PodName, ...] = ()
    gone_chains: tuple[str, ...] = ()
    gone_sets: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        new = self.sets or self.members or self.chains or self.pods
        return bool(new or self.gone_pods or self.gone_chains or self.gone_sets)

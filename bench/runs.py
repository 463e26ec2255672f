"""All meshes whose packets are compared, and the paths of traffic through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.flannel_mesh import flanneled
from bench.handmade import handmade
from bench.kinds import FLANNEL, HANDMADE, HOST, OFF, QUILT
from bench.mesh import BESIDE, DIRECT, HOST_PORTS, IPV6, OTHER, USUAL, Mesh, Shape, Way
from bench.plugins import Pods
from bench.policed_mesh import RULES, policed
from bench.quilt_mesh import quilt
from bench.switch import Switch, host
from bench.traffic import server
from quilt_devcluster.binaries import Progress

POLICIES = "policies"
GROUPS = (*USUAL, DIRECT, IPV6, POLICIES)
"""What is compared at a time: a place each, but the servers with policies, which are one."""
RULED = tuple(f"{rules} rules at the server" for rules in RULES)
PLACES = (*GROUPS[:-1], *RULED)
_MOST_PODS = 40


@dataclass(frozen=True)
class Run:
    """One path of traffic: whose it is, from which namespace to where, and for which places it counts."""

    whose: str
    group: str
    netns: str
    way: Way
    places: tuple[str, ...]


class Field:
    """The meshes that some groups need, all on one switch, and their servers.

    `own` is the usual mesh, None where no group needs it; `others` names with whom it is compared.
    """

    def __init__(
        self, stack: ExitStack, built: Path, groups: list[str], others: list[str], say: Progress
    ) -> None:
        self._stack, self._built, self._groups, self._others, self._say = stack, built, groups, others, say
        self._switch = Switch(stack)
        self._names = iter(stack.enter_context(Pods(_MOST_PODS)).names)
        self._numbers = count(1)
        self.own: Mesh | None = None
        self.runs = [run for run in self._all() if run.whose in (QUILT, *others)]

    def _all(self) -> Iterator[Run]:
        usual = tuple(place for place in USUAL if place in self._groups)
        if usual or POLICIES in self._groups:
            meshes = self._compared(usual)
            self.own = meshes[QUILT]
            yield from _runs(meshes)
            if OTHER in usual:
                yield self._hosts(self.own)
            if POLICIES in self._groups:
                yield from self._policies(meshes)
        for place in (DIRECT, IPV6):
            if place in self._groups:
                yield from _runs(self._compared((place,)))

    def _compared(self, places: tuple[str, ...]) -> dict[str, Mesh]:
        """One mesh of each competitor for these places; those made by hand have no host ports."""
        meshes = {QUILT: quilt(self._switch, self._shape(places), self._taken(3))}
        if FLANNEL in self._others:
            meshes[FLANNEL] = flanneled(self._switch, self._shape(places), self._taken(3), self._say)
        if HANDMADE in self._others:
            possible = tuple(place for place in places if place != HOST_PORTS)
            meshes[HANDMADE] = handmade(self._switch, self._shape(possible), self._taken(3))
        for mesh in meshes.values():
            self._serve(mesh)
        return meshes

    def _hosts(self, mesh: Mesh) -> Run:
        self._stack.enter_context(server(self._built, mesh.nodes[1].netns))
        return Run(HOST, OTHER, mesh.nodes[0].netns, Way(host(mesh.shape.numbers[1])), (OTHER,))

    def _policies(self, meshes: dict[str, Mesh]) -> Iterator[Run]:
        """To servers with policies, and to those of meshes without, which count for each of these."""
        mesh = policed(self._switch, self._pair(), self._taken(2 + len(RULES)))
        self._serve(mesh)
        for place, pod in zip(RULED, mesh.others, strict=True):
            yield Run(QUILT, POLICIES, mesh.client.netns, Way(pod.address), (place,))
        for whose, other in ((OFF, meshes[QUILT]), (FLANNEL, meshes.get(FLANNEL))):
            if other:
                yield Run(whose, POLICIES, other.client.netns, Way(other.others[0].address), RULED)

    def _serve(self, mesh: Mesh) -> None:
        for pod in mesh.servers:
            self._stack.enter_context(server(self._built, pod.netns, ipv6=mesh.shape.dual))

    def _shape(self, places: tuple[str, ...]) -> Shape:
        return Shape(self._pair(), places)

    def _pair(self) -> tuple[int, int]:
        return next(self._numbers), next(self._numbers)

    def _taken(self, number: int) -> list[str]:
        return [next(self._names) for _ in range(number)]


def variant(mesh: Mesh, name: str) -> list[Run]:
    """The runs of a mesh without one of its parts: to both nodes, of the places that it has."""
    return [run for run in _runs({name: mesh}) if run.group in (OTHER, BESIDE)]


def _runs(meshes: dict[str, Mesh]) -> Iterator[Run]:
    for whose, mesh in meshes.items():
        for place, way in mesh.ways.items():
            yield Run(whose, place, mesh.client.netns, way, (place,))

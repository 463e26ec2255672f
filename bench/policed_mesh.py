"""Our mesh with policies: servers on the other node that are held to none, to some and to many rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from bench.mesh import Mesh, Shape
from bench.policed import address_set, enforced, ingress, pod_name, program
from bench.quilt_mesh import quilt
from bench.switch import Switch
from bench.traffic import PORT
from quilt_policy.program import AddressSet, Chain, Profile

RULES = (0, 20, 200)
"""Of the servers, in the order of the mesh's other pods; without rules no policy selects the pod."""
_ADDRESSES = 10
"""How many each rule names."""


def policed(switch: Switch, numbers: tuple[int, int], names: list[str]) -> Mesh:
    """Make the mesh; of each server the last rule admits the client, at the server's port."""
    mesh = quilt(switch, Shape(numbers, (), policies=True), names)
    asyncio.run(enforced(mesh.nodes[1], program(_parts(mesh.client.address, names[2:]))))
    return mesh


def _parts(client: str, servers: list[str]) -> Iterator[Chain | AddressSet | Profile]:
    yield address_set("p_clients", _ADDRESSES, client)
    for rules, server in zip(RULES, servers, strict=True):
        yield Profile(pod_name(server), f"e_{rules}" if rules else "")
        if rules:
            yield ingress(f"e_{rules}", rules, "p_clients", PORT)

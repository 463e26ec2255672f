"""Measures paths between two nodes in turn: pods across, pods of one node, the nodes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from quilt_cli.connectivity import manifests
from quilt_cli.connectivity.stage import Progress, node_image, stage
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.matrix import Source
from quilt_cli.core.performance import Figures, Path, Performance
from quilt_kube.sync import Client


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure: for so many seconds each; names of nodes are empty where any will do."""

    source: str
    target: str
    seconds: float
    host: bool
    """Also from node to node, past the pod network."""


def measure(
    client: Client, image: str | None, wanted: Wanted, progress: Progress, *, timeout: float, keep: bool
) -> Performance:
    """Measure and remove all of it again, unless it is to `keep`.

    `timeout` is how long to wait for each pod, in seconds. Raises CannotTellError, ApiError,
    UnreachableError.
    """
    image = image or node_image(client)
    figures: dict[Path, Figures] = {}
    with stage(client, progress, timeout=timeout, keep=keep) as here:
        node, other = _pair(here.answering(), wanted)
        # A node that does not answer and is not measured is nothing to report here.
        here.silent.clear()
        for target, sources in _paths(node, other, host=wanted.host).items():
            address = here.start(manifests.measured(target, image)).addresses[0]
            for source in sources:
                path = Path(source, target, address)
                progress(f"{path.label}: {2 * wanted.seconds:g} s")
                pod = manifests.measuring(f"measuring-{len(figures)}", source, image, address, wanted.seconds)
                for found in here.outputs([pod]).values():
                    figures[path] = msgspec.convert(found, Figures)
        return Performance(figures, here.silent)


def _pair(nodes: Sequence[str], wanted: Wanted) -> tuple[str, str]:
    """From which node to which: those that are named, else the first ones; of one node, to itself."""
    for name in (wanted.source, wanted.target):
        if name and name not in nodes:
            raise CannotTellError(f"no Linux node that answers is called {name}")
    if not nodes:
        raise CannotTellError("no Linux node answers")
    source = wanted.source or next((name for name in nodes if name != wanted.target), nodes[0])
    target = wanted.target or next((name for name in nodes if name != source), source)
    return source, target


def _paths(node: str, other: str, *, host: bool) -> dict[Source, list[Source]]:
    """Who answers, and who asks each; what a node sends to itself says nothing of a network."""
    paths = {Source(other): [Source(name) for name in dict.fromkeys((node, other))]}
    if host and node != other:
        paths[Source(other, host=True)] = [Source(node, host=True)]
    return paths

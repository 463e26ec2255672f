"""The whole way as steps, in the order in which a packet and its answer meet them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from quilt_cli.core.trace import host_steps, pod_steps, probed, way_steps
from quilt_cli.core.trace.counters import counters
from quilt_cli.core.trace.host_steps import Asked
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.probed import Asking, Results
from quilt_cli.core.trace.site import End, Site, Want
from quilt_cli.core.trace.step import Step, Trace, judged
from quilt_crds.names import BRIDGE_DEVICE

# Answers go to some port that clients have (net.ipv4.ip_local_port_range).
_CLIENT_PORT = 40000


@dataclass(frozen=True, slots=True)
class Way:
    """Both ends with their nodes, and what the API says in between.

    `decided` are the steps that the API's objects decide: a Service's translation, policies. `refusals` name
    by node the policy that keeps the other node's own packets from an end there.
    """

    source: End
    target: End
    sites: tuple[Site, Site]
    want: Want
    asked: Asked
    decided: tuple[Step, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether both ends are on one node."""
        return self.sites[0].name == self.sites[1].name

    @property
    def words(self) -> str:
        """What kind of way it is."""
        if self.local:
            return f"on {self.sites[0].name}"
        direct = self.want.direct(*self.sites)
        return f"without the overlay, by {direct}" if direct else f"by the overlay, {self.want.device}"


def trace(way: Way, results: Results | None = None, before: Mapping[str, Kernel] | None = None) -> Trace:
    """Judge a way; `results` are what probes came to, None where none was made, `before` the kernels then."""
    steps = [*_static(way), *(_measured(way, results) if results is not None else ())]
    counted = counters(way.sites, before or {}, way.want.device)
    return judged((way.source.name, way.target.name), way.words, tuple(steps), tuple(counted))


def _static(way: Way) -> Iterator[Step]:
    source, target = way.sites
    yield from way.decided
    yield from pod_steps.pod_steps(source, way.source, way.want)
    if way.local:
        yield from _on_one_node(way)
        return
    yield from _leaving(way, source, target, way.source)
    yield from _arriving(way, target, source, way.target)
    yield from pod_steps.pod_steps(target, way.target, way.want)
    if way.target.is_pod:
        yield pod_steps.neighbor(target, way.target)
    yield from _answering(way)


def _on_one_node(way: Way) -> Iterator[Step]:
    site = way.sites[0]
    yield host_steps.forwarding(site, (BRIDGE_DEVICE,), way.asked.source.version)
    yield host_steps.forward(site, way.asked, BRIDGE_DEVICE, BRIDGE_DEVICE)
    yield from list(pod_steps.pod_steps(site, way.target, way.want))[:-1]
    if way.target.is_pod:
        yield pod_steps.neighbor(site, way.target)


def _leaving(way: Way, site: Site, peer: Site, end: End) -> Iterator[Step]:
    """From the node on which the packet begins to the wire."""
    direct = way.want.direct(site, peer)
    yield way_steps.tables(site)
    if not direct:
        yield way_steps.device(site, way.want)
        yield way_steps.mtu(site, way.want, end.interface)
    if end.is_pod:
        devices = (BRIDGE_DEVICE, direct or way.want.device)
        yield host_steps.forwarding(site, devices, way.asked.source.version)
        yield host_steps.forward(site, way.asked, *devices)
    yield from way_steps.to_peer(site, peer, way.want, way.asked.target)
    yield way_steps.underlay(site, peer, way.want)


def _arriving(way: Way, site: Site, peer: Site, end: End) -> Iterator[Step]:
    """From the wire to the bridge of the node on which it ends."""
    direct = way.want.direct(site, peer)
    if not direct:
        yield host_steps.received(site, peer, way.want)
        yield way_steps.device(site, way.want)
        yield way_steps.mtu(site, way.want, end.interface)
        if way.asked.source.version == 4:
            yield host_steps.source_check(site, way.want)
    if end.is_pod:
        devices = (direct or way.want.device, BRIDGE_DEVICE)
        yield host_steps.forwarding(site, devices, way.asked.source.version)
        yield host_steps.forward(site, way.asked, *devices)


def _answering(way: Way) -> Iterator[Step]:
    """The answer's way back, as far as it is another one."""
    source, target = way.sites
    back = Asked(
        way.asked.target, way.asked.source, way.asked.protocol, _CLIENT_PORT if way.asked.port else 0
    )
    direct = way.want.direct(target, source)
    if way.target.is_pod:
        yield host_steps.forward(target, back, BRIDGE_DEVICE, direct or way.want.device, answer=True)
    yield way_steps.tables(target)
    yield from way_steps.to_peer(target, source, way.want, way.asked.source)
    yield way_steps.underlay(target, source, way.want)
    if not direct:
        yield host_steps.received(source, target, way.want)
        if way.asked.source.version == 4:
            yield host_steps.source_check(source, way.want)
    if way.source.is_pod:
        devices = (way.want.direct(source, target) or way.want.device, BRIDGE_DEVICE)
        yield host_steps.forward(source, back, *devices, answer=True)


def _measured(way: Way, results: Results) -> Iterator[Step]:
    source, target = way.sites
    port = way.want.spec.vxlan.port
    if not way.local:
        yield from probed.between(source, target, results, port)
        yield from probed.between(target, source, results, port)
    for end, own, other in ((way.source, source, target), (way.target, target, source)):
        if end.is_pod:
            yield probed.answer(own, end, results, "")
            if not way.local:
                yield probed.answer(other, end, results, way.refusals.get(own.name, ""))


def asking(way: Way) -> dict[str, Asking]:
    """What each of the nodes is to probe, by its name."""
    source, target = way.sites
    knocks = tuple(
        f"{way.asked.protocol}:{way.asked.port if end is way.target else 0}:{end.address}"
        for end in (way.source, way.target)
        if end.is_pod
    )
    if way.local:
        return {source.name: Asking(knocks=knocks)}
    return {
        own.name: Asking(str(own.vtep), str(peer.vtep), way.want.mtu(own) or 0, knocks)
        for own, peer in ((source, target), (target, source))
    }

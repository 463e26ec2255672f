"""The agent of one node: every source, the reconciler and every report, started and joined here.

Reading order: sources (watches of claims, network and own QuiltNode; the kernel's notifications) mark keys,
the reconciler makes the kernel follow, and status, probes and metrics tell the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET, Resource
from quilt_crds.wire import QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork
from quilt_events.writer import Events
from quilt_health import HealthServer
from quilt_kube.aio import Client, follow
from quilt_kube.listwatch import ListWatch
from quilt_log import log
from quilt_memory import give_back
from quilt_netlink import Address, KernelLike, Link, Monitor, MonitorLike, NetlinkError, Route
from quilt_nodeagent.api.heartbeat import Heartbeat
from quilt_nodeagent.api.status import StatusWriter
from quilt_nodeagent.cni import LABELLED, CniFiles
from quilt_nodeagent.config import Config
from quilt_nodeagent.core.network import Network
from quilt_nodeagent.core.overlay import Mark
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.drift import DriftWatch
from quilt_nodeagent.executor.client import RuntimeClient
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.executor.routes import Routes
from quilt_nodeagent.feature import Feature
from quilt_nodeagent.kernel.device import DeviceKeeper
from quilt_nodeagent.kernel.hostcare import HostCare
from quilt_nodeagent.metrics import Metrics
from quilt_nodeagent.news import Repairs, RuntimeNews
from quilt_nodeagent.noderoutes import NodeRoutes
from quilt_nodeagent.reconcile import Reconciler
from quilt_nodeagent.report import Report
from quilt_nodeagent.sources import ClaimSource, NetworkSource, NodeSource
from quilt_nodeagent.view import View

# Seconds without a join before runtime and features hear of new hosts: routes go first, the next join's too.
_OTHERS_DELAY = 0.02
# While joins never pause for so long: thousands of hosts are not gone through again for each one.
_OTHERS_PAUSE = 0.1
# Seconds in which changes of the underlay's link and routes are collected before it is looked at.
_UNDERLAY_DELAY = 0.02


class Agent:
    """Everything of one node, over one kernel and one API server; `run` ends only by cancellation."""

    def __init__(
        self,
        config: Config,
        kernel: KernelLike,
        client: Client,
        version: str,
        open_monitor: Callable[[], MonitorLike] = Monitor,
    ) -> None:
        self._config = config
        self._client = client
        self.metrics = Metrics()
        self.table = PeerTable(config.node_name, Network().vxlan.device)
        self.view = View(kernel, self.table, config.node_name, config.network, config.host_ip)
        self._make_hands(kernel)
        self.drift = DriftWatch(
            self.table,
            self.dataplane,
            self.reconciler,
            self.repairs,
            underlay=self._underlay_event,
            unheard=self._unheard,
            open_monitor=open_monitor,
        )
        self.claims = ClaimSource(self.table, config.network, self._touched)
        self.node = NodeSource(client, config.node_name, self.view, self.claims, self._node_changed)
        self.features: list[Feature] = []
        self.watches = self._watches()
        self._make_reports(version)
        self._others_timer: asyncio.TimerHandle | None = None
        self._others_at_last = float("inf")
        self._others_not_before = float("-inf")
        self._underlay_timer: asyncio.TimerHandle | None = None
        self._device_ready = False

    def _make_hands(self, kernel: KernelLike) -> None:
        """What writes: Events, the runtime's connection, routes of this node alone, and what peers need."""
        config = self._config
        self.events = Events(self._client, config.node_name, lambda: len(self.table))
        self.repairs = Repairs(self.metrics, self.events.tell)
        self.runtime = RuntimeLink(
            RuntimeClient(config.runtime_addr),
            self.metrics,
            restored=self._runtime_restored,
            changed=self._runtime_changed,
            answered=RuntimeNews(self.events.tell).follow,
        )
        self.node_routes = NodeRoutes(
            Routes(kernel, self.runtime.client),
            self.metrics,
            mesh=lambda: self.network.cidrs,
            changed=self.report_soon,
        )
        self.dataplane = Dataplane(kernel, self.runtime, Network().overlay, self.metrics)
        self.host = HostCare(config.proc_sys_net, config.tx_checksum)
        self.reconciler = Reconciler(
            self.table,
            self.dataplane,
            DeviceKeeper(kernel, config.proc_sys_net),
            self.metrics,
            self.repairs,
            target=self.view.target,
            care=lambda device: self.host.look(device, len(self.table), self.table.direct),
            settled=self._settled,
        )

    def _make_reports(self, version: str) -> None:
        """What tells: the heartbeat, conditions, probes, metrics, and the QuiltNode's status."""
        self.heartbeat = Heartbeat(
            self._client,
            self._config.node_name,
            self.metrics,
            interval=lambda: self.network.heartbeat_interval,
            duration=lambda: self.network.heartbeat_timeout,
            owner=lambda: self.node.owner,
        )
        self.node.label_counts = self._config.cni.install == LABELLED
        facts = partial(self.view.status_facts, version)
        self.report = Report(self, CniFiles(self._config.cni), lambda: self.status.changed())
        self.status = StatusWriter(self._client, self._config.node_name, facts, self.report.conditions)

    def _watches(self) -> list[ListWatch[Any]]:
        """What is followed of Kubernetes: all claims, the network's settings, this node's QuiltNode."""
        network = NetworkSource(self.view, self.table, self._network_changed)
        return [
            _watch(QUILTSUBNET, QuiltSubnet, self.claims),
            _watch(QUILTNETWORK, QuiltNetwork, network, self._config.network),
            _watch(QUILTNODE, QuiltNode, self.node, self._config.node_name),
        ]

    @property
    def network(self) -> Network:
        """Settings of the mesh; the defaults before they are read."""
        return self.view.network or Network()

    async def run(self) -> None:
        """Serve for ever; on cancellation everything in the kernel stays as it is."""
        documents = {path: read for feature in self.features for path, read in feature.documents.items()}
        health = HealthServer(self.report.dead, self.report.unready, self.report.metrics, documents)
        port = await health.start(self._config.health_addr)
        log.info("agent_started", node=self._config.node_name, health_port=port)
        try:
            async with asyncio.TaskGroup() as group:
                self.report.heartbeat_task = group.create_task(self.heartbeat.run())
                group.create_task(give_back())
                for watch in self.watches:
                    group.create_task(follow(self._client, watch))
                for service in (
                    self.node,
                    self.runtime,
                    self.drift,
                    self.node_routes,
                    self.reconciler,
                    self.status,
                    self.report,
                    self.events,
                ):
                    group.create_task(service.run())
                for feature in self.features:
                    group.create_task(feature.run())
        finally:
            await health.stop()
            await self.runtime.client.close()

    def _touched(self, marks: set[Mark]) -> None:
        self.reconciler.touch(marks)
        self._tell_others_soon()

    def _network_changed(self, marks: set[Mark]) -> None:
        self.reconciler.touch(marks)
        self.reconciler.resync("network")
        self._look_at_underlay()
        self.heartbeat.changed()
        self._tell_others_soon()

    def _node_changed(self, item: QuiltNode | None) -> None:
        if item is not None:
            self.status.observed(item.status)
            self.node_routes.want(item.spec.routes)
            self._tell_others_soon()
        self._look_at_underlay()
        self.report.check()

    def _runtime_restored(self) -> None:
        self.reconciler.resync("runtime")
        for feature in self.features:
            feature.restored()
        self.node_routes.ensure("recovery")

    def _runtime_changed(self) -> None:
        served = self.runtime.served
        if served is not None and self.view.learn_served(served):
            # At once: before the runtime is configured with another subnet than the one that its pods have.
            self._tell_others()
        self._features_changed()
        self.report_soon()

    def _underlay_event(self, entry: Link | Address | Route, new: bool) -> None:
        self.node_routes.notice(entry, new)
        if not self.view.concerns_underlay(entry):
            return
        if isinstance(entry, Address):
            self._look_at_underlay()
            self.node.look_again()
            return
        if isinstance(entry, Link) and self.view.direct:
            # The link may have been down for a moment, and its routes went without a word.
            self.reconciler.resync("underlay")
        if self._underlay_timer is None:
            # Routes follow a link that appears or disappears in a moment, and many may change together.
            loop = asyncio.get_running_loop()
            self._underlay_timer = loop.call_later(_UNDERLAY_DELAY, self._look_at_underlay)

    def _unheard(self) -> None:
        self._look_at_underlay()
        self.node_routes.ensure("unheard")

    def _look_at_underlay(self) -> None:
        self._underlay_timer = None
        try:
            changed = self.view.look_at_underlay()
        except NetlinkError as error:
            log.warning("underlay_not_read", error=str(error))
            asyncio.get_running_loop().call_later(1.0, self._look_at_underlay)
            return
        way = replace(self.table.way, reach=self.view.reach, direct=self.view.direct)
        if marks := self.table.follow(way):
            self.reconciler.touch(marks)
        if changed:
            self.reconciler.resync("underlay")
            self._tell_others_soon()
            self.report_soon()

    def _tell_others_soon(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._others_timer is None:
            self._others_at_last = now + _OTHERS_PAUSE
        else:
            self._others_timer.cancel()
        due = max(min(now + _OTHERS_DELAY, self._others_at_last), self._others_not_before)
        self._others_timer = loop.call_at(due, self._tell_others)

    def _tell_others(self) -> None:
        """Have the runtime and the features follow what claims and settings are now."""
        if self._others_timer is not None:
            self._others_timer.cancel()
        self._others_timer = None
        self._features_changed()
        claim, settings = self.view.claim, self.view.settings()
        if claim is not None and self.runtime.confirmed_subnet == claim.cidr:
            self._others_not_before = asyncio.get_running_loop().time() + _OTHERS_PAUSE
        if settings is not None:
            self.runtime.want(settings, claim.cidr if claim else "", self.view.move_to)
            self.report_soon()

    def _settled(self) -> None:
        if self.reconciler.verified != self._device_ready:
            self._device_ready = self.reconciler.verified
            self.node_routes.ensure("ready")
            self._features_changed()
        self.report_soon()

    def _features_changed(self) -> None:
        for feature in self.features:
            feature.changed()

    def report_soon(self) -> None:
        """Have conditions and probes follow what changed."""
        self.status.changed()
        self.report.check()


def _watch(resource: Resource, kind: type[Any], source: Any, name: str = "") -> ListWatch[Any]:
    """Feed a source from all objects of a kind, or from the one that has the name."""
    query = {"fieldSelector": f"metadata.name={name}"} if name else None
    return ListWatch(resource.path(), kind, listed=source.listed, changed=source.changed, query=query)

"""The agent's process: the agent, and its features beside it: multicast, pods, probes of the paths."""

from __future__ import annotations

import asyncio
import gc
import signal
from importlib.metadata import version
from pathlib import Path

from quilt_crds.names import LATENCY_PATH
from quilt_kube.access import find, in_cluster
from quilt_kube.aio import Client
from quilt_log import log
from quilt_memory import give_back_large
from quilt_multicast.keeper import Keeper
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.service import Multicast, Wanted
from quilt_netlink import Kernel
from quilt_nodeagent.agent import Agent
from quilt_nodeagent.config import Config
from quilt_nodeagent.executor.client import socket_beside
from quilt_nodeagent.feature import Feature
from quilt_nodeagent.news import drift
from quilt_pim.core.config import ControlConfig
from quilt_pim.service import ControlService
from quilt_pods.service import Host, NodePods
from quilt_probes.service import Probes
from quilt_probes.service import Wanted as ProbesWanted


async def serve(config: Config, multicast_key: Path, control: ControlConfig) -> None:
    """Run an agent and its features until SIGTERM or SIGINT; the kernel is left as it is."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    access = find(str(config.kubeconfig)) if config.kubeconfig else in_cluster()
    # What was imported is never freed, and thousands of peers refer to nothing in a cycle: looking for
    # garbage among them would cost more than making them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    give_back_large()
    try:
        with Kernel.open() as kernel:
            async with Client(access, agent="quilt-agent") as client:
                agent = Agent(config, kernel, client, version("quilt-mesh"))
                agent.features += multicast_features(agent, config.runtime_addr, multicast_key, control)
                agent.features.append(pods_feature(agent, client, config.node_name))
                agent.features.append(probes_feature(agent, config.node_name, client))
                await agent.run()
    except asyncio.CancelledError:
        log.info("agent_stopped", leaves="kernel state as it is")


def multicast_features(agent: Agent, runtime_addr: str, key: Path, config: ControlConfig) -> list[Feature]:
    """Multicast across the mesh, and the API for multicast routers, each fed from the agent's tables."""
    registry, keeper = agent.metrics.registry, socket_beside(runtime_addr, "keep.sock")
    control = ControlService(config, agent.table, registry, lambda: agent.network.multicast.enabled)
    multicast = Multicast(
        lambda: _wanted(agent),
        key,
        MulticastMetrics(registry),
        observer=control.observer,
        reported=agent.report_soon,
        repaired=lambda kind: agent.events.tell(drift(f"multicast {kind}")),
        keeper=Keeper(keeper, "multicast") if keeper else None,
    )
    control.plane.state = multicast.state
    return [
        Feature(multicast.run, multicast.changed, multicast.keep, lambda: multicast.problems),
        Feature(control.run, control.changed),
    ]


def pods_feature(agent: Agent, client: Client, node: str) -> Feature:
    """The node's pods: their addresses published, and policies enforced."""
    host = Host(
        network=lambda: agent.view.network,
        owner=lambda: agent.node.owner,
        claims=agent.table.claims,
        enforcing=lambda: agent.runtime.enforces_policies,
        reported=agent.report_soon,
    )
    pods = NodePods(client, node, agent.runtime.client.channel, agent.metrics.registry, host)
    return Feature(pods.run, pods.changed, pods.restored, lambda: pods.problems)


def _wanted(agent: Agent) -> Wanted | None:
    table, network = agent.table, agent.view.network
    if network is None or not table.complete:
        return None
    device = network.vxlan.device if agent.reconciler.verified else ""
    claims = table.claims() if network.multicast.enabled else ()
    others = tuple(claim for claim in claims if claim.node != table.own_node)
    return Wanted(network.multicast, device, tuple(table.own), others)


def probes_feature(agent: Agent, node: str, client: Client) -> Feature:
    """Probes of the paths to peers, fed from the agent's tables."""
    probes = Probes(
        node,
        lambda: _probes_wanted(agent),
        client,
        agent.metrics.registry,
        interval=lambda: agent.network.heartbeat_interval,
        reported=agent.report_soon,
        tell=agent.events.tell,
    )
    return Feature(
        probes.run,
        probes.changed,
        problems=lambda: probes.problems,
        conditions=lambda: [probes.condition],
        documents={LATENCY_PATH: probes.document},
    )


def _probes_wanted(agent: Agent) -> ProbesWanted | None:
    network, underlay, table = agent.view.network, agent.view.underlay, agent.table
    if network is None or underlay is None or not table.complete:
        return None
    mtu = network.device_mtu(underlay.mtu, underlay.host_ip.address)
    ready = agent.reconciler.verified
    return ProbesWanted(network.probes.enabled, ready, mtu, tuple(table.claims()))

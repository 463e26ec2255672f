"""Command line of the agent: flags or QUILT_ variables in, one process until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import structlog
from prometheus_client import disable_created_metrics

from quilt_crds.names import AGENT_HEALTH_PORT, DEFAULT_NETWORK
from quilt_kube.access import AccessError, find, in_cluster
from quilt_kube.aio import Client
from quilt_multicast.keeper import Keeper
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.service import Multicast, Wanted
from quilt_netlink import Kernel
from quilt_nodeagent.agent import Agent
from quilt_nodeagent.cni import CONFLIST, CniPaths
from quilt_nodeagent.config import Config
from quilt_nodeagent.executor.client import socket_beside
from quilt_nodeagent.feature import Feature
from quilt_pim.core.config import ControlConfig
from quilt_pim.flags import control_options
from quilt_pim.service import ControlService

# The flags that make up CniPaths, in the order of its fields.
_CNI = ("src_dir", "bin_dir", "conf_dir", "sock", "conf_name", "install")
_LEVELS = click.Choice(["debug", "info", "warning", "error"])


@click.command(
    context_settings={
        "auto_envvar_prefix": "QUILT",
        "max_content_width": 110,
        "help_option_names": ["-h", "--help"],
    }
)
@click.version_option(package_name="quilt-mesh")
@click.option(
    "--node-name", required=True, envvar="NODE_NAME", help="Name of the Kubernetes Node this runs on."
)
@click.option("--host-ip", default="", help="Underlay address of this node; default: the Node's InternalIP.")
@click.option("--log-level", type=_LEVELS, default="info", show_default=True)
@click.option("--runtime-addr", default="unix:///run/quilt/runtime.sock", show_default=True)
@click.option(
    "--health-addr",
    default=f"127.0.0.1:{AGENT_HEALTH_PORT}",
    show_default=True,
    help="Where /healthz, /readyz and /metrics are served.",
)
@click.option("--network", default=DEFAULT_NETWORK, show_default=True, help="Name of the QuiltNetwork.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Outside of a cluster: how to reach the API."
)
@click.option(
    "--cni-bin-dir", type=click.Path(path_type=Path), default="/host/opt/cni/bin", show_default=True
)
@click.option(
    "--cni-conf-dir", type=click.Path(path_type=Path), default="/host/etc/cni/net.d", show_default=True
)
@click.option("--cni-conf-name", default=CONFLIST, show_default=True, help="File name of the configuration.")
@click.option(
    "--cni-install/--no-cni-install", default=True, show_default=True, help="Write plugins and configuration."
)
@click.option("--cni-src-dir", type=click.Path(path_type=Path), default="/opt/quilt/cni", show_default=True)
@click.option(
    "--cni-sock", default="/run/quilt/cni.sock", show_default=True, help="The runtime's CNI socket."
)
@click.option(
    "--multicast-key",
    type=click.Path(path_type=Path),
    default="/etc/quilt/multicast/key",
    show_default=True,
    help="Key by which agents know each other when they tell who is a member of which group.",
)
@click.option(
    "--proc-sys-net", type=click.Path(path_type=Path), default="/host/proc/sys/net", show_default=True
)
@click.option(
    "--tx-checksum",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Checksums by the VXLAN device: off where the kernel or a NIC would send wrong ones (auto: kernel).",
)
@control_options
def main(log_level: str, multicast_key: Path, control: ControlConfig, **flags: Any) -> None:
    """Keep this node's part of the Quilt mesh as the API says."""
    _log_as_json(log_level)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types only parts of itself
    cni = CniPaths(*(flags.pop(f"cni_{name}") for name in _CNI))
    try:
        asyncio.run(serve(Config(cni=cni, **flags), multicast_key, control))
    except (AccessError, OSError) as error:
        structlog.get_logger().error("agent_cannot_start", error=str(error))
        sys.exit(1)
    except BaseExceptionGroup:
        structlog.get_logger().exception("agent_crashed", leaves="kernel state as it is")
        sys.exit(1)


async def serve(config: Config, multicast_key: Path, control: ControlConfig) -> None:
    """Run an agent and its features until SIGTERM or SIGINT; the kernel is left as it is."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    access = find(str(config.kubeconfig)) if config.kubeconfig else in_cluster()
    # What was imported never goes, and thousands of peers refer to nothing in a cycle: looking for garbage
    # among them would cost more than making them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        with Kernel.open() as kernel:
            async with Client(access, agent="quilt-agent") as client:
                agent = Agent(config, kernel, client, installed_version())
                agent.features += multicast_features(agent, config.runtime_addr, multicast_key, control)
                await agent.run()
    except asyncio.CancelledError:
        structlog.get_logger().info("agent_stopped", leaves="kernel state as it is")


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
        keeper=Keeper(keeper, "multicast") if keeper else None,
    )
    control.plane.state = multicast.state
    return [
        Feature(multicast.run, multicast.changed, multicast.keep, lambda: multicast.problems),
        Feature(control.run, control.changed),
    ]


def _wanted(agent: Agent) -> Wanted | None:
    table, network = agent.table, agent.view.network
    if network is None or not table.complete:
        return None
    device = network.vxlan.device if agent.reconciler.verified else ""
    claims = table.claims() if network.multicast.enabled else ()
    others = tuple(claim for claim in claims if claim.node != table.own_node)
    return Wanted(network.multicast, device, tuple(table.own), others)


def installed_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("quilt-mesh")
    except PackageNotFoundError:
        return "unknown"


def _log_as_json(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )

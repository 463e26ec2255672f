"""Command line of the agent: flags or QUILT_ variables in, one process until SIGTERM.

What only a running agent needs is imported by it alone: `--help` works without the extra `agent`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from quilt_crds.names import AGENT_HEALTH_PORT, DEFAULT_NETWORK
from quilt_kube.access import AccessError
from quilt_log import log, log_as_json
from quilt_nodeagent.cni import ALWAYS, CONFLIST, INSTALL, CniPaths
from quilt_nodeagent.config import Config
from quilt_pim.core.config import ControlConfig
from quilt_pim.flags import control_options

# The flags that make up CniPaths, in the order of its fields.
_CNI = ("src_dir", "bin_dir", "conf_dir", "sock", "conf_name", "install")
_LEVELS = click.Choice(["debug", "info", "warning", "error"])
_PATH = click.Path(path_type=Path)


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
@click.option("--kubeconfig", type=_PATH, help="Outside of a cluster: how to reach the API.")
@click.option("--cni-bin-dir", type=_PATH, default="/host/opt/cni/bin", show_default=True)
@click.option("--cni-conf-dir", type=_PATH, default="/host/etc/cni/net.d", show_default=True)
@click.option("--cni-conf-name", default=CONFLIST, show_default=True, help="File name of the configuration.")
@click.option(
    "--cni-install",
    type=click.Choice(INSTALL),
    default=ALWAYS,
    show_default=True,
    help="Write plugins and configuration; labelled: the configuration where the Node has a label.",
)
@click.option("--cni-src-dir", type=_PATH, default="/opt/quilt/cni", show_default=True)
@click.option(
    "--cni-sock", default="/run/quilt/cni.sock", show_default=True, help="The runtime's CNI socket."
)
@click.option(
    "--multicast-key",
    type=_PATH,
    default="/etc/quilt/multicast/key",
    show_default=True,
    help="Key by which agents know each other when they tell who is a member of which group.",
)
@click.option("--proc-sys-net", type=_PATH, default="/host/proc/sys/net", show_default=True)
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
    from quilt_nodeagent.serve import serve

    log_as_json(log_level, sys.stdout)
    cni = CniPaths(*(flags.pop(f"cni_{name}") for name in _CNI))
    try:
        asyncio.run(serve(Config(cni=cni, **flags), multicast_key, control))
    except (AccessError, OSError) as error:
        log.error("agent_cannot_start", error=str(error))
        sys.exit(1)
    except BaseExceptionGroup:
        log.exception("agent_crashed", leaves="kernel state as it is")
        sys.exit(1)

"""A registry in a cluster, the CNCF's distribution: what is pushed to it, the nodes' containerd pulls.

It listens at the switch's address, without TLS. A loopback port of the machine leads to it, and its images
have the name of that port: on the nodes, where nothing listens there, containerd is configured to look at the
switch for them.
"""

from __future__ import annotations

from pathlib import Path

from quilt_devcluster import control, machines, render
from quilt_devcluster.binaries import program
from quilt_devcluster.controlplane import start_program
from quilt_devcluster.state import State

NAME = "registry"
PORT = 5000


def start(state: State) -> str:
    """Start the registry of a cluster, empty, and return its name on this machine and on the nodes.

    It is `127.0.0.1:<port>`; images are called `127.0.0.1:<port>/<path>:<tag>`.
    """
    folder = state.folder / NAME
    folder.mkdir()
    address = f"{state.addresses.switch}:{PORT}"
    config = folder / "config.json"
    config.write_text(render.as_json(render.registry_config(folder, address)))
    start_program(state, machines.SWITCH, NAME, [str(program(NAME)), "serve", str(config)])
    answer = control.request(
        state.socket,
        op="forward",
        netns=f"/proc/{state.pids[machines.SWITCH].pid}/ns/net",
        host=state.addresses.switch,
        port=PORT,
        listen=0,
    )
    name = f"127.0.0.1:{answer['port']}"
    for node in state.nodes:
        _configure(state, node, name, address)
    return name


def _configure(state: State, node: str, name: str, address: str) -> None:
    """Have a node's containerd look for images of `name` at `address`; it reads this whenever it pulls."""
    folder = Path(render.REGISTRIES) / name
    script = f"mkdir -p {folder} && cat > {folder}/hosts.toml"
    machines.in_machine(state, node, ["sh", "-euc", script], stdin=render.registry_hosts(address))

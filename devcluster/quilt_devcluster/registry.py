"""A registry in a cluster, the CNCF's distribution: what is pushed to it, the nodes' containerd pulls.

It listens at the switch's address, without TLS. A loopback port of the machine leads to it, and its images
have the name of that port: on the nodes, where nothing listens there, containerd is configured to look at the
switch for them.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from quilt_devcluster import control, machines, render
from quilt_devcluster.binaries import program
from quilt_devcluster.controlplane import start_program
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.state import State

NAME = "registry"
PORT = 5000
START_TIMEOUT = 60.0


def start(state: State) -> str:
    """Start the registry of a cluster, empty, and return its name on this machine and on the nodes.

    It is `127.0.0.1:<port>`; images are called `127.0.0.1:<port>/<path>:<tag>`. Raises DevclusterError when
    it does not answer.
    """
    folder = state.folder / NAME
    folder.mkdir()
    address = f"{state.addresses.switch}:{PORT}"
    start_program(state, machines.SWITCH, NAME, command(folder, address))
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
    wait_ready(name, state.log(NAME))
    return name


def command(folder: Path, address: str) -> list[str]:
    """Return the command line of a registry with its data in `folder`, without TLS at `address`."""
    config = folder / "config.json"
    config.write_text(render.as_json(render.registry_config(folder, address)))
    # Its traces would be sent to a collector that nobody runs.
    return ["env", "OTEL_TRACES_EXPORTER=none", str(program(NAME)), "serve", str(config)]


def wait_ready(name: str, log: Path) -> None:
    """Wait until the registry called `name` answers. Raises DevclusterError after START_TIMEOUT seconds."""
    deadline = time.monotonic() + START_TIMEOUT
    opener = build_opener(ProxyHandler({}))
    while True:
        try:
            opener.open(f"http://{name}/v2/", timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                message = f"The registry {name} does not answer within {START_TIMEOUT:.0f} s: {error}."
                raise DevclusterError(message, log=log) from error
        time.sleep(0.1)


def _configure(state: State, node: str, name: str, address: str) -> None:
    """Have a node's containerd look for images of `name` at `address`; it reads this whenever it pulls."""
    folder = Path(render.REGISTRIES) / name
    script = f"mkdir -p {folder} && cat > {folder}/hosts.toml"
    machines.in_machine(state, node, ["sh", "-euc", script], stdin=render.registry_hosts(address))

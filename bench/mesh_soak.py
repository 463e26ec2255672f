"""`python -m bench.soak mesh`: a three-node cluster under random faults, in the end as it must be.

Kernel entries are deleted and modified, links flap, agents and runtimes are killed, the API server stops, and
claims appear that no kernel can follow. Afterwards the kernels must be as before the first fault, what is
foreign untouched, pods in reach of each other, and processes no larger than they were. And while no process
is killed, so that every fault is repaired at once, no probe has called a path failed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click

from quilt_devcluster import Cluster, DevclusterError, binaries
from tests.support.mesh import Mesh, Pod, all_up, install, kernel_state, until

CTR = str(binaries.program("ctr"))
# Of the whole time: after this part nothing is killed any more, so that processes can be compared.
KILLING = 0.6
# What a process may have more at the end than in the middle.
MORE_DESCRIPTORS, MORE_THREADS, MORE_MB = 4, 2, 4.0
ALARM = 'quilt_probes_peers{state="failing"}'

# {n}: a random other node's subnet number, {m}: the next one's, {mac} its VTEP's MAC, {id} its nexthop's id.
KERNEL = (
    "ip link del vxlan100",
    "ip link set vxlan100 down",
    "ip link set vxlan100 mtu 1300",
    "ip link set vxlan100 address 02:00:00:00:00:01",
    "ip link set vxlan100 type vxlan id 100 learning",
    "for i in 1 2 3 4 5 6 7 8; do ip link set vxlan100 down; ip link set vxlan100 up; done",
    "ip link set quilt0 down",
    "ip link del quilt0",
    "ip address flush dev vxlan100",
    "ip address flush dev quilt0",
    "ip route del {prefix}",
    "ip route replace {prefix} dev lo proto 81",
    "ip nexthop flush proto 81",
    "ip nexthop replace id {id} dev lo proto 81",
    "bridge fdb del {mac} dev vxlan100",
    "bridge fdb replace {mac} dev vxlan100 dst 198.18.250.1 self permanent",
    "bridge fdb flush dev vxlan100",
    "ip neigh del {vtep} dev vxlan100",
    "ip neigh replace {vtep} lladdr 02:00:00:00:00:09 dev vxlan100 nud permanent",
    "ip neigh flush dev vxlan100 nud permanent",
    "nft delete table inet quilt",
    "nft flush chain inet quilt postrouting",
    "sysctl -qw net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv4.conf.vxlan100.rp_filter=1",
)
FOREIGN = """
    ip link add foreign0 type veth peer name foreign1; ip link set foreign1 up; ip link set foreign0 up
    ip address add 198.19.7.1/24 dev foreign0
    ip route add 198.19.8.0/24 via 198.19.7.9 dev foreign0 proto static
    ip neigh add 198.19.7.9 lladdr 02:00:00:00:00:77 dev foreign0 nud permanent
    ip nexthop add id 4242 via 198.19.7.9 dev foreign0 proto static
    ip link add foreignvx type vxlan id 7 dstport 4790; ip link set foreignvx up
    bridge fdb add 02:00:00:00:00:78 dev foreignvx dst 198.19.7.9 self permanent
    nft add table inet foreign; nft add chain inet foreign kept
"""
FOREIGN_GONE = "ip link del foreign0; ip link del foreignvx; nft delete table inet foreign; true"
FOREIGN_SHOWN = (
    "ip -o address show foreign0 scope global; ip route show 198.19.8.0/24;"
    "ip neigh show dev foreign0 nud permanent; ip nexthop show id 4242;"
    "bridge fdb show dev foreignvx | grep :78; nft list table inet foreign"
)
BAD_CLAIMS = (
    ("10.42.250.0/24", "ghost", "198.18.250.1"),
    ("10.42.251.0/24", "ghost6", "2001:db8::251"),
    ("10.42.252.0/24", "ghost", ""),
)


@dataclass(frozen=True)
class Process:
    """What a process holds."""

    pid: int
    descriptors: int
    threads: int
    megabytes: float

    def outgrown(self, before: Process) -> bool:
        return self.pid == before.pid and (
            self.descriptors > before.descriptors + MORE_DESCRIPTORS
            or self.threads > before.threads + MORE_THREADS
            or self.megabytes > before.megabytes + MORE_MB
        )


class Soak:
    """A mesh under faults, each of which is printed as it happens."""

    def __init__(self, mesh: Mesh, chance: random.Random) -> None:
        self.mesh = mesh
        self.nodes = mesh.nodes()
        self.counts: dict[str, int] = {}
        self.alarms: list[str] = []
        """What was done last when a node called a path failed."""
        self._chance = chance

    def kernel(self) -> str:
        """Damage one entry or device of one node."""
        node = self._chance.choice(self.nodes)
        other = self._chance.choice([name for name in self.nodes if name != node])
        prefix = self.mesh.subnets()[other]["spec"]["cidr"]
        vtep = prefix.partition("/")[0]
        mac = self.mesh.quiltnode(other).get("mac", "02:00:00:00:00:08")
        nexthops = json.loads(self.mesh.on(node, "ip", "-j", "nexthop", "show", check=False) or "[]")
        found = next((n["id"] for n in nexthops if n.get("gateway") == vtep), 0)
        command = self._chance.choice(KERNEL).format(prefix=prefix, vtep=vtep, mac=mac, id=found)
        self.mesh.on(node, "sh", "-c", command, check=False)
        return f"{node}: {command}"

    def flap(self) -> str:
        """Take the underlay's NIC of a node down for a moment."""
        node = self._chance.choice(self.nodes)
        script = (
            "set -- $(ip -o -4 route show default); nic=$(ip -o -4 address show scope global |"
            f" grep -w {self.mesh.cluster.node_ip(node)} | cut -d' ' -f2);"
            'ip link set "$nic" down; ip link set "$nic" up; [ -z "$1" ] || ip route replace "$@"'
        )
        self.mesh.on(node, "sh", "-c", script, check=False)
        return f"{node}: underlay flapped"

    def kill(self) -> str:
        """kill -9 of an agent or a runtime."""
        node, container = self._chance.choice(self.nodes), self._chance.choice(("agent", "runtime"))
        if pid := self.pids(node).get(container):
            self.mesh.on(node, "kill", "-9", str(pid), check=False)
        return f"{node}: {container} killed"

    def api(self) -> str:
        """Stop the API server for some seconds."""
        self.mesh.cluster.stop_apiserver()
        seconds = self._chance.uniform(2, 8)
        time.sleep(seconds)
        self.mesh.cluster.start_apiserver()
        self.mesh.cluster.wait_api()
        return f"API server away for {seconds:.0f} s"

    def claims(self) -> str:
        """Publish claims that cannot be followed, or take them back."""
        cidr, node, host = self._chance.choice(BAD_CLAIMS)
        name = cidr.replace("/", "-")
        claim = {
            "apiVersion": "quilt.io/v1alpha1",
            "kind": "QuiltSubnet",
            "metadata": {"name": name},
            "spec": {"cidr": cidr, "network": "default", "node": node},
            "mesh": {"phase": "Up", "hostIP": host},
        }
        try:
            self.mesh.apply(claim)
        except DevclusterError as error:
            return f"claim {cidr} refused: {str(error)[-100:]}"
        self.mesh.kubectl("delete", "quiltsubnet", name, "--wait=false", "--ignore-not-found")
        return f"claim {cidr} of {node} came and went"

    def pids(self, node: str) -> dict[str, int]:
        """Process ids of a node's agent and runtime."""
        pod = self.mesh.system_pod("node", node)
        names = {s.get("containerID", "")[13:]: s["name"] for s in pod["status"].get("containerStatuses", [])}
        tasks = self.mesh.on(node, CTR, "-n", "k8s.io", "tasks", "list").splitlines()[1:]
        found = (line.split()[:2] for line in tasks)
        return {names[container]: int(pid) for container, pid in found if container in names}

    def processes(self) -> dict[str, Process]:
        """What agents and runtimes hold; process ids are those of their node."""
        return {
            f"{node}/{name}": self._process(node, pid)
            for node in self.nodes
            for name, pid in self.pids(node).items()
        }

    def _process(self, node: str, pid: int) -> Process:
        script = f"cd /proc/{pid}; ls fd | wc -l; ls task | wc -l; grep VmRSS status | tr -dc 0-9"
        files, threads, kilobytes = map(int, self.mesh.on(node, "sh", "-ec", script).split())
        return Process(pid, files, threads, kilobytes / 1000 * 1.024)

    def run(self, seconds: float, faults: list[Callable[[], str]]) -> None:
        """Faults at random moments for so long."""
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            fault = self._chance.choice(faults)
            try:
                line = fault()
            except (DevclusterError, KeyError, StopIteration) as error:
                line = f"{fault.__name__} not possible now: {type(error).__name__}"
            self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
            click.echo(f"  {line}", err=True)
            self.alarms += [f"{node} after {line}" for node in self.nodes if self._alarms(node)]
            time.sleep(self._chance.uniform(0.1, 3.0))

    def _alarms(self, node: str) -> bool:
        try:
            return self.mesh.metric(node, ALARM) > 0
        except (DevclusterError, StopIteration):  # its agent is away, or has just begun
            return False

    def settled(self, before: dict[str, dict[str, list[str]]]) -> None:
        """Wait until the kernels are as before; AssertionError says where one is not."""
        until("every node is Up and in sync", lambda: all_up(self.mesh), timeout=360, every=1)
        for node in self.nodes:
            until(f"{node} is as before", partial(self._is_as, node, before[node]), 60, 0.5)
        until("no path fails", lambda: not any(map(self._alarms, self.nodes)), 60, 0.5)

    def _is_as(self, node: str, before: dict[str, list[str]]) -> bool:
        return kernel_state(self.mesh, node) == before


@contextmanager
def foreign(mesh: Mesh) -> Iterator[Callable[[], dict[str, str]]]:
    """Put entries of other programs on every node; gives what shows them."""
    try:
        for node in mesh.nodes():
            mesh.on(node, "sh", "-ec", FOREIGN)
        yield lambda: {node: mesh.on(node, "sh", "-c", FOREIGN_SHOWN) for node in mesh.nodes()}
    finally:
        for node in mesh.nodes():
            mesh.on(node, "sh", "-c", FOREIGN_GONE)


def all_reach(mesh: Mesh, pods: list[Pod]) -> bool:
    """Whether every pod answers every other."""
    return all(mesh.http(a, b.ip) for a in pods for b in pods if a is not b)


def soak(mesh: Mesh, minutes: float, seed: int) -> dict[str, int]:
    """Do it all; AssertionError tells what was not as it must be."""
    made = Soak(mesh, random.Random(seed))
    pods = list(mesh.start_pods({f"soak-{node}": node for node in made.nodes}, label="soak").values())
    with foreign(mesh) as shown:
        strangers = shown()
        before = {node: kernel_state(mesh, node) for node in made.nodes}
        light: list[Callable[[], str]] = [made.kernel, made.kernel, made.kernel, made.flap, made.claims]
        made.run(minutes * 60 * KILLING, [*light, made.kill, made.api])
        made.settled(before)
        middle, alarmed = made.processes(), len(made.alarms)
        made.run(minutes * 60 * (1 - KILLING), light)
        made.settled(before)
        end, wrong = made.processes(), made.alarms[alarmed:]
        assert shown() == strangers, "an entry of another program was touched"
    until("all pods reach each other", lambda: all_reach(mesh, pods), timeout=30)
    grown = {name: (middle[name], now) for name, now in end.items() if now.outgrown(middle[name])}
    assert not grown, f"grown: {grown}"
    click.echo(f"looks that met an alarm of paths: {alarmed} while processes were killed, {len(wrong)} later")
    assert not wrong, f"a path was called failed while every fault was repaired at once: {wrong}"
    for name, now in sorted(end.items()):
        click.echo(f"{name}: {middle[name].megabytes:.1f} -> {now.megabytes:.1f} MB, {now.descriptors} files")
    mesh.delete_pods(*(pod.name for pod in pods))
    return made.counts


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long faults are made.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same faults.")
@click.option("--cluster", default="", help="A running cluster to use and leave running; default: a new one.")
def mesh(minutes: float, seed: int, cluster: str) -> None:
    """Random faults on every layer of a three-node cluster."""
    if cluster:
        counts = _in(Cluster.attach(cluster), minutes, seed)
    else:
        with Cluster.up(name="soak", nodes=3) as made:
            counts = _in(made, minutes, seed)
    faults = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    click.echo(
        f"{minutes:g} minutes of faults ({faults}): everything as before, nothing foreign touched, no leak"
    )


def _in(cluster: Cluster, minutes: float, seed: int) -> dict[str, int]:
    made = Mesh(cluster)
    install(made)
    return soak(made, minutes, seed)

"""The machines of a cluster: the switch, the control plane and the nodes, each a set of namespaces.

A machine is held by its first process; everything in it lives in that process's PID namespace. So switching
a machine off is one kill, after which the kernel ends all its programs and pods, its mounts and its network
at once, like a power failure; its disk (a folder) stays.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD

from quilt_devcluster import binaries, cgroups, paths, plan, procs, render
from quilt_devcluster.enter import inside
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind
from quilt_devcluster.procs import Pid
from quilt_devcluster.shell import run
from quilt_devcluster.state import State

SWITCH = "switch"
BRIDGE = "br0"
# The folders of a node's own disk: the first are layered over the machine's, the others must be plain
# folders, since containerd puts overlays of its own on them.
LAYERED = ("etc", "opt", "var")
PLAIN = ("containerd", "kubelet")
# The kubelet sets these for the whole machine (its crash behaviour among them). It finds them set in files
# of the node instead and leaves the machine alone.
FAKE_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def switch_on(state: State, role: str) -> None:
    """Start the first process of a machine, with empty namespaces, and remember it."""
    groups: list[Path] = []
    if role in state.nodes:
        group = cgroups.node_group(state.name, role)
        cgroups.create(group)
        groups = cgroups.folders(group)
    output = run(
        # By file, not as a module: it needs the standard library alone and must start at once.
        [
            sys.executable,
            "-S",
            "-E",
            paths.PACKAGE / "holder.py",
            binaries.pause_program(),
            state.folder,
            role,
            *groups,
        ],
        what=f"Making the namespaces of {role}",
        hint="this needs root with CAP_SYS_ADMIN and a kernel with network, mount and PID namespaces",
    )
    state.pids[role] = procs.identify(int(output))
    state.save()
    if groups:
        cgroups.delegate(group)


def switch_off(state: State, role: str) -> None:
    """Kill the machine `role` and wait until its last process is gone; one that is off already is fine."""
    if role in state.pids:
        end_machine(state.pids[role])


def end_machine(holder: Pid) -> None:
    """Kill the machine of the first process `holder`. Raises DevclusterError when a process of it hangs."""
    # What was brought in from outside must be reaped outside before the kernel lets go of the PID namespace,
    # and an nsenter whose program was paused does not reap.
    entered = procs.find("nsenter", f"--target={holder.pid}") if holder.alive() else []
    # The first process becomes reapable only when all others of its PID namespace are gone.
    gone = all(procs.end(process) for process in entered) and procs.end(holder, timeout=60.0)
    if not gone:
        raise DevclusterError(
            f"The machine held by process {holder.pid} does not end.",
            hint=f"a process of it hangs: look at /proc/{holder.pid}/stack, then try again",
        )


def in_machine(
    state: State, role: str, argv: Sequence[str], *, what: str = "", stdin: str | None = None
) -> str:
    """Run `argv` inside the machine `role` and return its output. Raises DevclusterError when it fails."""
    if role not in state.pids:
        raise DevclusterError(f"The cluster {state.name!r} has no machine {role!r}.")
    return run(inside(state.pids[role], argv), what=what or f"Running {argv[0]} in {role}", stdin=stdin)


@contextmanager
def _network(state: State, role: str) -> Iterator[IPRoute]:
    """The kernel's network of a machine. What the kernel refuses meanwhile becomes a DevclusterError."""
    try:
        with IPRoute(netns=f"/proc/{state.pids[role].pid}/ns/net", flags=0, groups=0) as kernel:
            yield kernel
    except NetlinkError as error:
        raise DevclusterError(f"Setting up the network of {role} failed: {error}.") from error


def _index(kernel: IPRoute, device: str) -> int:
    return int(kernel.link_lookup(ifname=device)[0])


def _address(kernel: IPRoute, device: str, addresses: Sequence[str]) -> None:
    """Give a device its addresses ("address/length"), and switch it and the loopback device on."""
    index = _index(kernel, device)
    for address, _, length in (one.partition("/") for one in addresses):
        # Nobody else has them: an IPv6 address shall not wait for being found unique.
        flags = IFA_F_NODAD if ":" in address else 0
        kernel.addr("add", index=index, address=address, prefixlen=int(length), flags=flags)
    for each in (_index(kernel, "lo"), index):
        kernel.link("set", index=each, state="up")


def set_up_switch(state: State) -> None:
    """Make the bridge between the machines; as their gateway it has an address, but it forwards nothing."""
    settings = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
    with _network(state, SWITCH) as kernel:
        mac = plan.switch_mac(state.slot)
        kernel.link("add", ifname=BRIDGE, kind="bridge", address=mac, **settings)
        _address(kernel, BRIDGE, state.addresses.of_machine(state.addresses.switch))


def plug_in(state: State, role: str, port: str, address: str, mac: str) -> None:
    """Join the machine `role` to the switch by a pair of interfaces: `port` there, eth0 here."""
    addresses = state.addresses
    deadline = time.monotonic() + 30.0
    with _network(state, SWITCH) as kernel:
        while kernel.link_lookup(ifname=port):
            # The kernel removes a dead machine's interfaces a moment after its last process.
            if time.monotonic() > deadline:
                raise DevclusterError(f"The old network interface of {role} does not go away.")
            time.sleep(0.02)
        peer = {"ifname": "eth0", "address": mac, "net_ns_pid": state.pids[role].pid}
        kernel.link("add", ifname=port, kind="veth", peer=peer)
        kernel.link("set", index=_index(kernel, port), master=_index(kernel, BRIDGE), state="up")
    with _network(state, role) as kernel:
        _address(kernel, "eth0", addresses.of_machine(address))
        for gateway in addresses.of_machine(addresses.switch):
            kernel.route("add", gateway=gateway.partition("/")[0], oif=_index(kernel, "eth0"))


def set_up_control_plane(state: State) -> None:
    """Give a control plane without nodes its host name, its /proc, etcd's disk and its network."""
    lines = [f"hostname {plan.CONTROL_PLANE}", "mount -t proc proc /proc", *_etcd_disk(state)]
    in_machine(state, plan.CONTROL_PLANE, ["sh", "-euc", "\n".join(lines)])
    plug_in(state, plan.CONTROL_PLANE, "cp", state.addresses.control_plane, plan.node_mac(state.slot, 0))


def _etcd_disk(state: State) -> list[str]:
    # In memory: nothing of it has to outlive the cluster, and the API server waits for what etcd writes.
    disk = shlex.quote(str(state.etcd))
    return [f"mkdir -p {disk}", f"mount -t tmpfs -o mode=0700 tmpfs {disk}"]


def set_up_node(state: State, node: str) -> None:
    """Give a node its disk, its view of the kernel and its network. The disk survives being switched off."""
    folder = state.node_folder(node)
    for name in (*LAYERED, *(f".{name}" for name in LAYERED), *PLAIN, "sysctl"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, value in FAKE_SYSCTLS.items():
        (folder / "sysctl" / name.replace("/", ".")).write_text(value + "\n")
    in_machine(state, node, ["sh", "-euc", node_script(state, node)], what=f"Setting up the machine {node}")
    index = state.index(node)
    plug_in(state, node, f"n{index}", state.addresses.node(index), plan.node_mac(state.slot, index))
    in_machine(
        state,
        node,
        ["sh", "-euc", "\n".join(boot_settings(index, state.kind))],
        what=f"Setting {node}'s sysctls",
    )


def boot_settings(index: int, kind: Kind) -> list[str]:
    """Return shell commands that set what is set at boot on node number `index`; the NIC is there."""
    ipv4 = "/proc/sys/net/ipv4"
    prepared = kind.host_forwarding or index % 2 == 0
    return [
        # Strict reverse-path filtering, as RHEL and its kin have it, also for interfaces that come later.
        f'for file in {ipv4}/conf/*/rp_filter; do echo 1 > "$file"; done',
        # A host does not forward until somebody asks for it. Every second one was prepared as kubeadm asks,
        # and hardened: interfaces that come later do not forward by themselves. The switch is also that of
        # every interface there is, so the order matters.
        f"echo {int(prepared)} > {ipv4}/ip_forward",
        f"echo {int(kind.host_forwarding)} > {ipv4}/conf/default/forwarding",
    ]


def node_script(state: State, node: str) -> str:
    """Return the shell script that turns fresh namespaces into the node."""
    folder = shlex.quote(str(state.node_folder(node)))
    lines = [
        f"hostname {node}",
        "mount -t proc proc /proc",
        # Everything under /run dies with the power, as on a real machine.
        "mount -t tmpfs -o mode=0755 tmpfs /run",
        "mkdir -p /run/netns /run/lock",
        # A sysfs of its own shows the node's network interfaces.
        "mount -t sysfs sysfs /sys",
        "mount -t tmpfs -o mode=0755 tmpfs /sys/fs/cgroup",
        *cgroups.mount_lines(Path("/proc/self/mountinfo").read_text()),
    ]
    for name in LAYERED:
        options = f"lowerdir=/{name},upperdir={folder}/{name},workdir={folder}/.{name}"
        lines.append(f"mount -t overlay -o {options} overlay /{name}")
    for name in PLAIN:
        lines += [f"mkdir -p /var/lib/{name}", f"mount --bind {folder}/{name} /var/lib/{name}"]
    for name in FAKE_SYSCTLS:
        file = f"{folder}/sysctl/{name.replace('/', '.')}"
        lines.append(f"[ ! -e /proc/sys/{name} ] || mount --bind {file} /proc/sys/{name}")
    hosts = render.hosts_file(state.addresses, state.nodes)
    lines += _etcd_disk(state) if node == state.servers[0] else []
    lines += [
        "mkdir -p /etc/cni/net.d /opt/cni/bin /var/lib/cni /var/log/pods /var/log/containers",
        # At the first start only: what the machine under the test has there is not the node's.
        "[ -e /etc/quilt-node ] || rm -rf /etc/cni/net.d/* /opt/cni/bin/*",
        # May be links into the machine's /run, which the node does not have.
        "rm -f /etc/resolv.conf /etc/hosts /etc/hostname",
        # No name server: a name outside the cluster is an error at once instead of a packet that leaves.
        "echo '# no name server: nothing outside the cluster is asked' > /etc/resolv.conf",
        f"echo {node} > /etc/hostname; touch /etc/quilt-node",
        f"printf %s {shlex.quote(hosts)} > /etc/hosts",
        "mount --make-rshared /",
    ]
    return "\n".join(lines)

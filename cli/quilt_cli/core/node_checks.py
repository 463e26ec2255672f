"""What of a node would break the mesh; `installed` is whether the mesh is meant to run on it already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from quilt_cli.core.finding import Finding, fail, ok, unknown, warn
from quilt_cli.core.node_facts import NodeFacts
from quilt_crds.names import BRIDGE_DEVICE, DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT

# IPv4: Ethernet 14, IP 20, UDP 8, VXLAN 8. RFC 7348.
ENCAPSULATION = 50
# RFC 8200 section 5: IPv6 needs links of 1280; below it pods' MTU would be refused.
MTU_MIN = 1280
NEIGHBOURS_MIN = 1024
# Modules of the packet filter, and what is not there without them.
_MODULES = {
    "nft_ct": "the overlay's packets cannot be kept untracked, and the runtime's table is refused",
    "nft_objref": "what is dropped cannot be counted by its reason, and the runtime's tables are refused",
    "nft_masq": "pods cannot leave the cluster, and the runtime's table is refused",
    "nft_fib_inet": "what a node forwards into the mesh for others gets the node's address",
}
_IPTABLES = {"ip": "iptables", "ip6": "ip6tables"}
_CNI_SUFFIXES = (".conf", ".conflist", ".json")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the network asks for."""

    node: str
    device: str = VXLAN_DEVICE
    vni: int = DEFAULT_VNI
    port: int = VXLAN_PORT
    cidrs: tuple[str, ...] = ()
    installed: bool = False

    @property
    def arguments(self) -> list[str]:
        """The flags by which `quiltctl check node` learns it; the node's name it knows itself."""
        asked = ["--post" if self.installed else "--pre", "--vni", str(self.vni), "--port", str(self.port)]
        return [
            *asked,
            "--device",
            self.device,
            *(part for c in self.cidrs for part in ("--cluster-cidr", c)),
        ]


def check(facts: NodeFacts, want: Expected) -> list[Finding]:
    """All findings about a node, the good ones included."""
    about = f"node {want.node}"
    return [
        *_kernel(facts, about),
        *_port(facts, want, about),
        *_ranges(facts, want, about),
        *_mtu(facts, want, about),
        *_forwarding(facts, want, about),
        *_untracked(facts, want, about),
        *_host_ports(facts, about),
        *_kube_proxy(facts, about),
        *_sysctls(facts, want, about),
        *_cni(facts, want, about),
        *(_running(facts, want, about) if want.installed else ()),
    ]


def _kernel(facts: NodeFacts, about: str) -> Iterator[Finding]:
    if major_minor(facts.kernel) >= (5, 3) and facts.nexthop_objects is not False:
        yield ok("kernel", about, f"Linux {facts.kernel} with nexthop objects")
    else:
        message = f"Linux {facts.kernel} has no nexthop objects (5.3 and newer): routes are written slower"
        yield warn("kernel", about, message, "upgrade the kernel where thousands of nodes are meant")
    for kind, can in facts.can_make.items():
        if can:
            yield ok(f"device-{kind}", about, f"the kernel makes {kind} devices")
        elif can is None:
            yield unknown(
                f"device-{kind}", about, f"whether the kernel makes {kind} devices", f"modprobe {kind}"
            )
        else:
            yield fail(f"device-{kind}", about, f"the kernel makes no {kind} devices", f"modprobe {kind}")
    if facts.nft is None:
        yield unknown("nftables", about, "there is no nft program here (the node image has one)")
    else:
        yield ok("nftables", about, facts.nft)
    for module, lost in _MODULES.items():
        if facts.nft_has.get(module) is False:
            tell = warn if module == "nft_fib_inet" else fail
            yield tell(f"kernel-{module}", about, f"the kernel has no {module}: {lost}", f"modprobe {module}")


def _port(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    foreign = [item for item in facts.vxlans if item.port == want.port and item.name != want.device]
    clash = next((item for item in foreign if item.vni == want.vni), None)
    own = any(item.name == want.device for item in facts.vxlans)
    if clash is not None:
        message = f"device {clash.name} has VNI {want.vni} on UDP {want.port}, which {want.device} needs"
        yield fail(
            "vni-taken", about, message, f"ip link del {clash.name}; or set another network.vxlan.vni or port"
        )
    elif foreign:
        names = ", ".join(f"{item.name} (VNI {item.vni})" for item in foreign)
        message = f"UDP {want.port} is also used by {names}; different VNIs can share it"
        yield warn("port-shared", about, message, "remove what is no longer used, or set network.vxlan.port")
    elif facts.port_in_use and not own:
        message = f"UDP {want.port} is taken by a program"
        yield fail("port-taken", about, message, f"ss -ulpn 'sport = {want.port}'; or set network.vxlan.port")
    elif facts.port_in_use is None:
        yield unknown("port", about, f"whether UDP {want.port} is free")
    else:
        yield ok("port", about, f"UDP {want.port} is {'in use by the mesh' if own else 'free'}")


def _ranges(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    """Devices of others that have addresses of the mesh's ranges: packets for pods would go there."""
    own = {BRIDGE_DEVICE, want.device}
    others = (item for item in facts.addresses if item.device not in own)
    foreign = [item for item in others if overlaps(item.address.partition("/")[0], want.cidrs)]
    for item in foreign:
        message = f"device {item.device} has {item.address}, of the mesh's range: pods there are not reached"
        todo = f"ip link del {item.device} where another pod network left it; else choose other clusterCIDRs"
        yield fail("range-taken", about, message, todo)
    if facts.addresses and not foreign:
        yield ok("range", about, "no other device has an address of the mesh's ranges")


def _mtu(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    if not facts.underlay:
        yield unknown("mtu", about, "no default route, so no underlay interface to look at")
        return
    fits = facts.underlay_mtu - ENCAPSULATION
    own = next((item for item in facts.vxlans if item.name == want.device), None)
    if fits < MTU_MIN:
        message = f"{facts.underlay} has MTU {facts.underlay_mtu}, which leaves pods less than {MTU_MIN}"
        yield fail("mtu-small", about, message, f"ip link set {facts.underlay} mtu {MTU_MIN + ENCAPSULATION}")
    elif own is not None and own.mtu > fits:
        message = f"{want.device} has MTU {own.mtu}, but {facts.underlay} carries {fits} after encapsulation"
        yield warn("mtu-large", about, message, "set network.vxlan.mtu: auto, or a number that fits")
    else:
        yield ok("mtu", about, f"{facts.underlay} has MTU {facts.underlay_mtu}: pods get up to {fits}")


def _forwarding(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    if facts.drops_forward is None:
        yield unknown("forward", about, "whether a firewall drops forwarded packets", "run it as root")
        return
    for chain in facts.drops_forward:
        family, table, name = chain.name.split(" ", 2)
        if chain.accepts:
            yield ok(
                "forward", about, f"chain {chain.name} refuses by default, and lets {BRIDGE_DEVICE} pass"
            )
        elif family in _IPTABLES and (table, name) == ("filter", "FORWARD") and not want.installed:
            yield ok(
                "forward",
                about,
                f"chain {chain.name} refuses by default; the runtime adds what lets {BRIDGE_DEVICE} pass",
            )
        else:
            message = f"chain {chain.name} refuses forwarded packets by default: pods are cut off"
            yield fail("forward-drop", about, message, _let_pass(family, table, name, want))
    if facts.legacy_iptables:
        message = "whether rules of iptables-legacy refuse packets: nft does not show them"
        yield unknown(
            "forward-legacy", about, message, "iptables-legacy -S FORWARD; iptables-legacy -S INPUT"
        )
    if not facts.drops_forward:
        yield ok("forward", about, "no firewall chain drops forwarded packets by default")


def _let_pass(family: str, table: str, chain: str, want: Expected) -> str:
    """The commands after which a chain lets pods' packets pass."""
    cidrs = want.cidrs or DEFAULT_CLUSTER_CIDRS
    if table == "firewalld":
        zone = "firewall-cmd --permanent --zone=trusted"
        sources = "; ".join(f"{zone} --add-source={cidr}" for cidr in cidrs)
        return f"{sources}; firewall-cmd --permanent --add-port={want.port}/udp; firewall-cmd --reload"
    if family in _IPTABLES and (table, chain) == ("filter", "FORWARD"):
        program = _IPTABLES[family]
        mine = [cidr for cidr in cidrs if (":" in cidr) == (family == "ip6")] or list(cidrs)
        rules = [f"{program} -I FORWARD {way} {cidr} -j ACCEPT" for cidr in mine for way in ("-s", "-d")]
        return "; ".join(rules)
    rule = f"nft insert rule {family} {table} {chain}"
    return "; ".join(f"{rule} {way} {BRIDGE_DEVICE} accept" for way in ("iifname", "oifname"))


def _untracked(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    """The overlay's packets are not tracked: no rule about a state but `untracked` is about them."""
    for chain in facts.drops_untracked or ():
        family, table, name = chain.split(" ", 2)
        if family in _IPTABLES and table == "filter":
            todo = f"{_IPTABLES[family]} -I {name} -p udp --dport {want.port} -j ACCEPT"
        else:
            todo = f"nft insert rule {family} {table} {name} udp dport {want.port} accept"
        message = (
            f"chain {chain} lets UDP {want.port} pass for tracked connections alone (ct state new), and the "
            "overlay's packets are not tracked: nodes do not reach each other"
        )
        yield fail("overlay-untracked", about, message, f"{todo}; and the same where the rules are kept")


def _host_ports(facts: NodeFacts, about: str) -> Iterator[Finding]:
    if facts.host_programs:
        program = "iptables" if "iptables" in facts.host_programs else "nft"
        yield ok("host-ports", about, f"hostPorts are made by the host's {program}")
    elif facts.host_programs is not None:
        message = "the host has neither iptables nor nft: pods with a hostPort cannot start"
        yield warn("host-ports", about, message, "install nftables (or iptables) on the host")


def _kube_proxy(facts: NodeFacts, about: str) -> Iterator[Finding]:
    """IPVS leads connections to Services past the forward hook, where network policies are enforced."""
    if facts.ipvs and facts.policies:
        message = "kube-proxy is in mode ipvs: network policies do not hold for connections to Services"
        todo = "set kube-proxy's mode to nftables or iptables, and reboot the node or remove kube-ipvs0"
        yield warn("kube-proxy-ipvs", about, message, todo)


def _sysctls(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    forward = facts.sysctls.get("ipv4/ip_forward")
    if forward == "1" or (forward == "0" and not want.installed):
        note = "" if forward == "1" else " (0 now, the runtime turns it on)"
        yield ok("ip-forward", about, f"net.ipv4.ip_forward{note}")
    elif forward == "0":
        yield fail(
            "ip-forward", about, "net.ipv4.ip_forward is 0: no pod traffic", "sysctl -w net.ipv4.ip_forward=1"
        )
    if forward == "1" and facts.sysctls.get(f"ipv4/conf/{facts.underlay}/forwarding") == "0":
        name = f"net/ipv4/conf/{facts.underlay}/forwarding"
        message = f"{name} is 0: what comes back to pods from outside by {facts.underlay} is not forwarded"
        yield fail("forwarding-off", about, message, f"sysctl -w {name}=1; and in /etc/sysctl.d")
    if facts.sysctls.get("ipv4/conf/all/rp_filter") == "1":
        message = "net.ipv4.conf.all.rp_filter is 1 (strict); the mesh's own devices are set to 2 (loose)"
        yield ok("rp-filter", about, message)
    limit = facts.sysctls.get("ipv4/neigh/default/gc_thresh3", "")
    if limit.isdigit() and int(limit) < NEIGHBOURS_MIN:
        message = f"net.ipv4.neigh.default.gc_thresh3 is {limit}: pods and hosts may not fit"
        yield warn(
            "neighbours", about, message, f"sysctl -w net.ipv4.neigh.default.gc_thresh3={NEIGHBOURS_MIN}"
        )
    elif limit:
        yield ok("neighbours", about, f"room for {limit} learned neighbours")


def _cni(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    if facts.cni_files is None:
        yield unknown("cni", about, f"{facts.cni_folder} cannot be read", "run it as root")
        return
    own = facts.cni_own
    configurations = [name for name in facts.cni_files if name.endswith(_CNI_SUFFIXES)]
    first = [name for name in configurations if name < own]
    others = [name for name in configurations if name > own]
    if first:
        message = f"{first[0]} in {facts.cni_folder} sorts before {own}: new pods get that network"
        yield fail("cni-foreign", about, message, f"rm {facts.cni_folder}/{first[0]}, and what writes it")
    elif others:
        message = f"{', '.join(others)} in {facts.cni_folder} would serve pods if {own} were removed"
        yield warn("cni-other", about, message, "remove it where that network is no longer used")
    else:
        yield ok("cni", about, f"no foreign CNI configuration in {facts.cni_folder}")
    if want.installed and own not in configurations:
        message = f"{own} is not in {facts.cni_folder}: the agent writes it once the node is in sync"
        yield fail("cni-absent", about, message, f"kubectl describe quiltnode {want.node}")


def _running(facts: NodeFacts, want: Expected, about: str) -> Iterator[Finding]:
    own = next((item for item in facts.vxlans if item.name == want.device), None)
    for present, code, what in (
        (own is not None and own.up, "vxlan", f"device {want.device}"),
        (facts.bridge, "bridge", f"bridge {BRIDGE_DEVICE}"),
        (facts.runtime_answers, "runtime", "the runtime's socket"),
    ):
        if present:
            yield ok(code, about, f"{what} is there")
        else:
            todo = f"kubectl describe quiltnode {want.node}"
            yield fail(f"{code}-absent", about, f"{what} is not there or not up", todo)


def major_minor(release: str) -> tuple[int, int]:
    """The first two numbers of `6.1.0-18-amd64`; (0, 0) for what is no version."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def overlaps(text: str, cidrs: Iterable[str]) -> bool:
    """Whether an address or a range has an address in common with one of these; a name has none."""
    try:
        mine = ip_network(text, strict=False)
    except ValueError:
        return False
    others = (ip_network(cidr, strict=False) for cidr in cidrs)
    return any(mine.version == other.version and mine.overlaps(other) for other in others)

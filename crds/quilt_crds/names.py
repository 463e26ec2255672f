"""Names that several components must spell alike: API, namespaces, managers, conditions, devices, ports.

They live beside the API models because they are part of the same contract: a component that spells one of
them differently does not fail, it silently looks at nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

GROUP: Final = "quilt.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

_ACRONYMS: Final = {"ip": "IP", "cidr": "CIDR", "cidrs": "CIDRs", "mb": "MB"}


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of the Kubernetes API; `api` is its group and version."""

    kind: str
    plural: str
    singular: str = ""
    short: str = ""
    api: str = API_VERSION

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition, e.g. `quiltnodes.quilt.io`."""
        return f"{self.plural}.{GROUP}"

    def path(self, name: str = "", subresource: str = "", *, namespace: str = "") -> str:
        """URL path of the collection, or of one object (`name`), or of its `subresource`."""
        root = "/apis" if "/" in self.api else "/api"
        within = ("namespaces", namespace) if namespace else ()
        parts = (root, self.api, *within, self.plural, name, subresource)
        return "/".join(part for part in parts if part)

    def document(self, metadata: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
        """Return an object of this kind, as JSON to send."""
        return {"apiVersion": self.api, "kind": self.kind, "metadata": metadata, **parts}

    def reference(self, name: str, uid: str) -> dict[str, str]:
        """Return a reference to an object of this kind; as owner, others are deleted together with it."""
        return {"apiVersion": self.api, "kind": self.kind, "name": name, "uid": uid}


QUILTNETWORK: Final = Resource("QuiltNetwork", "quiltnetworks", "quiltnetwork", "qnet")
QUILTNODE: Final = Resource("QuiltNode", "quiltnodes", "quiltnode", "qn")
QUILTSUBNET: Final = Resource("QuiltSubnet", "quiltsubnets", "quiltsubnet", "qs")
QUILTENDPOINTS: Final = Resource("QuiltEndpoints", "quiltendpoints", "quiltendpoints", "qe")
QUILTPEERS: Final = Resource("QuiltPeers", "quiltpeers", "quiltpeers", "qp")

CLUSTERNETWORKPOLICY: Final = Resource(
    "ClusterNetworkPolicy", "clusternetworkpolicies", api="policy.networking.k8s.io/v1beta1"
)
CONFIGMAP: Final = Resource("ConfigMap", "configmaps", api="v1")
DAEMONSET: Final = Resource("DaemonSet", "daemonsets", api="apps/v1")
DEPLOYMENT: Final = Resource("Deployment", "deployments", api="apps/v1")
EVENT: Final = Resource("Event", "events", api="events.k8s.io/v1")
# The same objects in the form in which they can be chosen by what they are about.
CORE_EVENT: Final = Resource("Event", "events", api="v1")
LEASE: Final = Resource("Lease", "leases", api="coordination.k8s.io/v1")
NAMESPACE: Final = Resource("Namespace", "namespaces", api="v1")
NETWORKPOLICY: Final = Resource("NetworkPolicy", "networkpolicies", api="networking.k8s.io/v1")
NODE: Final = Resource("Node", "nodes", api="v1")
POD: Final = Resource("Pod", "pods", api="v1")
SECRET: Final = Resource("Secret", "secrets", api="v1")
SERVICE: Final = Resource("Service", "services", api="v1")
ENDPOINTSLICE: Final = Resource("EndpointSlice", "endpointslices", api="discovery.k8s.io/v1")
SERVICECIDR: Final = Resource("ServiceCIDR", "servicecidrs", api="networking.k8s.io/v1")

DEFAULT_NETWORK: Final = "default"

# Label of QuiltPeers: the hash of the selector whose pods they hold.
SELECTOR_LABEL: Final = f"{GROUP}/selector"
# Addresses of one QuiltPeers at most.
SLICE_SIZE: Final = 256

# Objects of the Helm release; the two named quilt-… without a namespace stand in the release namespace.
LEASE_NAMESPACE: Final = "quilt-node-lease"
KUBELET_LEASE_NAMESPACE: Final = "kube-node-lease"
OPERATOR_LEASE: Final = "quilt-operator"
NETWORK_CONFIGMAP: Final = "quilt-network"
NETWORK_CONFIG_KEY: Final = "network.json"

NODE_DAEMONSET: Final = "quilt-mesh"
OPERATOR_DEPLOYMENT: Final = "quilt-operator"
NODE_COMPONENT: Final = "node"
OPERATOR_COMPONENT: Final = "operator"

# Owners of fields in server-side apply, one per writer.
AGENT_FIELD_MANAGER: Final = "quilt-agent"
OPERATOR_FIELD_MANAGER: Final = "quilt-operator"

# Phases of QuiltNodes (Pending, Up, Down) and of QuiltSubnets (Up, Down, Releasing).
PENDING: Final = "Pending"
UP: Final = "Up"
DOWN: Final = "Down"
RELEASING: Final = "Releasing"

# Conditions of a QuiltNode, by writer.
DATAPLANE_IN_SYNC: Final = "DataplaneInSync"
RUNTIME_READY: Final = "RuntimeReady"
CLAIM_LOST: Final = "ClaimLost"
PEERS_REACHABLE: Final = "PeersReachable"
CNI_INSTALLED: Final = "CNIInstalled"
AGENT_CONDITIONS: Final = (DATAPLANE_IN_SYNC, RUNTIME_READY, CLAIM_LOST, PEERS_REACHABLE, CNI_INSTALLED)
SUBNET_ALLOCATED: Final = "SubnetAllocated"
READY: Final = "Ready"
AGENT_UNRESPONSIVE: Final = "AgentUnresponsive"
NODE_DOWN: Final = "NodeDown"
"""Not a condition: the reason of `Ready` on a node whose routes are withdrawn, and of the Event about it."""
SUBNET_IN_USE: Final = "SubnetInUse"
OPERATOR_CONDITIONS: Final = (SUBNET_ALLOCATED, READY, AGENT_UNRESPONSIVE, SUBNET_IN_USE)
# Fields of a QuiltNode's status that only the operator may change.
OPERATOR_STATUS_FIELDS: Final = ("phase", "subnets", "mac", "lastTransitionTime")

# Conditions of a QuiltNetwork.
NETWORK_ACCEPTED: Final = "Accepted"
SUBNETS_AVAILABLE: Final = "SubnetsAvailable"
CLAIMS_CONSISTENT: Final = "ClaimsConsistent"
WITHDRAWAL_PAUSED: Final = "WithdrawalPaused"
AGENTS_RESPONSIVE: Final = "AgentsResponsive"
PODS_FIT: Final = "PodsFit"

# Condition of a ClusterNetworkPolicy, which is others' too: with the group in front.
POLICY_ACCEPTED: Final = f"{GROUP}/Accepted"

# Label of Nodes that serve new pods, where the chart says `cni.install: labelled`, and its value.
CNI_LABEL: Final = "quilt.io/cni"
CNI_LABEL_VALUE: Final = "quilt"

# Devices on a node.
VXLAN_DEVICE: Final = "vxlan100"
BRIDGE_DEVICE: Final = "quilt0"
# A pod's interface on its node: this, and the pod's IPv4 address in eight hexadecimal digits. Its alias is
# the pod's namespace, a slash and its name.
POD_INTERFACE_PREFIX: Final = "qv"

# Everything uses the host's network: one table of ports for the whole product.
VXLAN_PORT: Final = 4789
AGENT_HEALTH_PORT: Final = 9470
RUNTIME_HEALTH_PORT: Final = 9471
OPERATOR_HEALTH_PORT: Final = 9472
# UDP, on the VTEP address alone: agents tell each other about multicast members.
MULTICAST_PORT: Final = 9474
# UDP, on the VTEP address alone, from this port to this port: agents probe the paths between nodes.
PROBES_PORT: Final = 9475
# UDP, on the VTEP address alone, from this port to this port: packets of `quiltctl trace`, while it runs.
TRACE_PORT: Final = 9476
# Beside the agent's metrics: what its probes measured.
LATENCY_PATH: Final = "/latency"

# What a network has that says nothing else.
DEFAULT_CLUSTER_CIDRS: Final = ("10.42.0.0/16",)
DEFAULT_VNI: Final = 100

# Routing protocol numbers (rtnetlink(7)): routes that the mesh decides, and those that others have the
# runtime make. By them a process without memory knows what a predecessor left (`ip route show proto 81`).
MESH_PROTOCOL: Final = 81
INJECTED_PROTOCOL: Final = 82
ROUTE_PROTOCOLS: Final = (MESH_PROTOCOL, INJECTED_PROTOCOL)
# The routing table of multicast, and the preference of the rules that lead there.
MULTICAST_TABLE: Final = 8181

# The least MTU that IPv6 works with (RFC 8200, 5): the kernel removes IPv6 from any device with less.
IPV6_MTU: Final = 1280


def wire_name(field: str) -> str:
    """JSON name of a Python field: `cluster_cidrs_v6` -> `clusterCIDRsV6`, `host_ip` -> `hostIP`."""
    first, *rest = field.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


def claim_name(cidr: str) -> str:
    """Name of the QuiltSubnet that claims `cidr`: `10.42.1.0-24`, or `fd42-0-0-1---64` for fd42:0:0:1::/64.

    `cidr` must be canonical (no host bits, compressed lower-case IPv6), else one subnet would have two names;
    the CRD refuses any other spelling. The same function is there in CEL.
    """
    return cidr.replace("/", "-").replace(":", "-")


def vtep_mac(network: str, node: str) -> str:
    """Locally administered unicast MAC of `node` in `network`, lower-case with colons, for both families.

    Derived rather than reported: nobody has to wait to learn a peer's MAC, a re-created device is the same
    peer, and no stolen credential can publish somebody else's.
    """
    digest = bytearray(sha256(f"{network}/{node}".encode()).digest()[:6])
    # IEEE 802: bit 0 of the first byte is "group", bit 1 "locally administered".
    digest[0] = (digest[0] & 0xFC) | 0x02
    return digest.hex(":")

"""What a cluster is besides its size: the defaults are people's clusters, not those that are easy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """The switches of a cluster, remembered for the nodes that join it later.

    With `allocate_node_cidrs` the controller-manager gives the Nodes ranges of `node_cidrs`, by default of
    the pod network, each a /24, or of `node_cidr_length`, which needs one family alone; with `dual_stack`
    everything has IPv6 too. `proxy_mode` is kube-proxy's: nftables or
    iptables. It is configured with the pod networks (its clusterCIDR) only with `proxy_cluster_cidr`: kubeadm
    does so only where it was given them itself, and without them kube-proxy masquerades nothing of a node's
    own. `max_pods` is the kubelets' limit. With `host_forwarding` all hosts forward from every interface
    there is and will be, without which versions of the product up to f9ccd39 do not carry traffic.
    """

    allocate_node_cidrs: bool = False
    dual_stack: bool = False
    node_cidrs: str = ""
    node_cidr_length: int = 0
    proxy_mode: str = "nftables"
    proxy_cluster_cidr: bool = False
    max_pods: int = 110
    host_forwarding: bool = False

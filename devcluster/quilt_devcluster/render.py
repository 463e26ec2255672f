"""Configuration of a cluster's programs, as plain functions. JSON is written where YAML is read.

The settings that are not a matter of taste carry the reason; the rest are upstream's defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quilt_devcluster import plan
from quilt_devcluster.kind import Kind

PAUSE_IMAGE = "localhost/quilt-pause:dev"
TEST_IMAGE = "docker.io/library/quilt-test:dev"
COREDNS_IMAGE = "localhost/quilt-coredns:dev"
NODE_IMAGE = "docker.io/library/quilt-mesh-node:dev"
OPERATOR_IMAGE = "docker.io/library/quilt-mesh-operator:dev"
REGISTRIES = "/etc/containerd/certs.d"
"""Where a node's containerd finds how to reach a registry, by the name of it."""


def etcd_args(data: Path, pki: Path, address: str = "") -> list[str]:
    """Return etcd's flags. It listens on loopback, and with TLS at `address` for an API server elsewhere."""
    elsewhere = [
        f"--cert-file={pki}/etcd.crt",
        f"--key-file={pki}/etcd.key",
        f"--trusted-ca-file={pki}/ca.crt",
        "--client-cert-auth=true",
    ]
    urls = ["http://127.0.0.1:2379", *([f"https://{address}:2379"] if address else [])]
    return [
        "--name=quilt",
        f"--data-dir={data}",
        f"--listen-client-urls={','.join(urls)}",
        *(elsewhere if address else []),
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=quilt=http://127.0.0.1:2380",
        # Its disk is memory, where nothing is safer for being synced.
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
        "--log-level=warn",
    ]


def apiserver_args(addresses: plan.Addresses, pki: Path, address: str, etcd: str = "") -> list[str]:
    """Return the flags of the kube-apiserver of the machine with `address`.

    `etcd` is the address of the machine with etcd where that is another one. All servers are behind the
    `kubernetes` Service: each renews a lease in etcd, which is how the default reconciler counts them.
    """
    elsewhere = [
        f"--etcd-servers=https://{etcd}:2379",
        f"--etcd-cafile={pki}/ca.crt",
        f"--etcd-certfile={pki}/apiserver-etcd.crt",
        f"--etcd-keyfile={pki}/apiserver-etcd.key",
    ]
    return [
        *(elsewhere if etcd else ["--etcd-servers=http://127.0.0.1:2379"]),
        f"--advertise-address={address}",
        f"--secure-port={plan.API_PORT}",
        f"--service-cluster-ip-range={addresses.service_cidrs}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        # Node names resolve nowhere; without this, exec and logs would ask a name server.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{plan.CLUSTER_DOMAIN}",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--profiling=false",
    ]


def controller_manager_args(addresses: plan.Addresses, pki: Path, kind: Kind) -> list[str]:
    """Return kube-controller-manager's flags; pod ranges it gives only with `allocate_node_cidrs`.

    They come from `node_cidrs`, by default the cluster's pod networks; `node_cidr_length` 0 is its default.
    """
    args = [
        f"--kubeconfig={pki}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--root-ca-file={pki}/ca.crt",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    ]
    if kind.allocate_node_cidrs:
        # Its default is a /24 of IPv4 and, in dual stack, a /64 of IPv6.
        args += ["--allocate-node-cidrs=true", f"--cluster-cidr={kind.node_cidrs or addresses.pod_cidrs}"]
        args += [f"--node-cidr-mask-size={kind.node_cidr_length}"] if kind.node_cidr_length else []
    return args


def scheduler_args(pki: Path) -> list[str]:
    """Return kube-scheduler's flags."""
    return [
        f"--kubeconfig={pki}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--profiling=false",
    ]


# All nodes share one disk: its fill level says nothing of a node, and an image that was loaded by hand cannot
# be pulled again once collected.
_ANY_DISK = {
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    "imageMinimumGCAge": "8760h",
    "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
}


def kubelet_config(
    pki: Path, node: str, *, max_pods: int, cgroup_v1: bool, control_plane: bool = False
) -> dict[str, Any]:
    """Return the KubeletConfiguration of `node`, as seen from inside the node."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/{node}.crt",
        "tlsPrivateKeyFile": f"{pki}/{node}.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [plan.SERVICE_DNS],
        "clusterDomain": plan.CLUSTER_DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        **_ANY_DISK,
        "makeIPTablesUtilChains": False,
        "maxPods": max_pods,
        # The default of 50 makes a node with many pods wait for itself.
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
    if control_plane:
        config["registerWithTaints"] = [{"key": plan.CONTROL_PLANE_LABEL, "effect": "NoSchedule"}]
    if cgroup_v1:
        # On version 1 the kubelet wants to be asked to go on, and to own the whole hierarchy.
        config |= {"failCgroupV1": False, "cgroupsPerQOS": False, "enforceNodeAllocatable": []}
    return config


def kube_proxy_config(addresses: plan.Addresses, pki: Path, node: str, kind: Kind) -> dict[str, Any]:
    """Return the KubeProxyConfiguration of `node`."""
    config: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": kind.proxy_mode,
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": f"{pki}/{node}.kube-proxy.kubeconfig"},
        "oomScoreAdj": 0,
        # These sysctls cannot be written outside the first network namespace; 0 leaves them alone.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
    }
    if kind.proxy_cluster_cidr:
        config["clusterCIDR"] = addresses.pod_cidrs
    return config


def containerd_config(runc: Path, *, snapshotter: str = "overlayfs") -> str:
    """Return containerd's configuration (TOML)."""
    return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
imports = []
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{REGISTRIES}"

[plugins.'io.containerd.cri.v1.runtime']
  # Lowering oom_score_adj needs CAP_SYS_RESOURCE, which this machine may not have.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
    # /opt/cni/bin starts empty: nothing but the product brings plugins, not even for a pod's loopback.
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"""


def registry_config(folder: Path, address: str) -> dict[str, Any]:
    """Return the configuration of a registry with its data in `folder`, without TLS at `address`."""
    return {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }


def registry_hosts(address: str) -> str:
    """Return containerd's hosts.toml for images of a registry that is at `address`, without TLS."""
    return f"""server = "http://{address}"

[host."http://{address}"]
  capabilities = ["pull", "resolve"]
"""


def hosts_file(addresses: plan.Addresses, nodes: dict[str, int]) -> str:
    """Return a node's /etc/hosts: itself and its fellows."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{addresses.node(index)} {name}" for name, index in sorted(nodes.items())]
    return "\n".join(lines) + "\n"


def as_json(value: dict[str, Any]) -> str:
    """Return `value` as JSON text for a configuration file."""
    return json.dumps(value, indent=2) + "\n"

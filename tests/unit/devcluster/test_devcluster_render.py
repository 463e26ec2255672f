"""The settings that a cluster does not work without, in the rendered configuration."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from quilt_devcluster import cgroups, machines, manifests, plan, render
from quilt_devcluster.kind import Kind
from quilt_devcluster.state import State

PKI = Path("/pki")
ADDRESSES = plan.Addresses(1)


def test_containerd_uses_our_pause_and_its_own_loopback() -> None:
    config = tomllib.loads(render.containerd_config(Path("/bin/runc")))
    images = config["plugins"]["io.containerd.cri.v1.images"]
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert images["pinned_images"]["sandbox"] == render.PAUSE_IMAGE
    assert runtime["cni"]["use_internal_loopback"] is True
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == "/bin/runc"


def test_containerd_looks_for_a_registrys_images_where_it_listens() -> None:
    config = tomllib.loads(render.containerd_config(Path("/bin/runc")))
    images = config["plugins"]["io.containerd.cri.v1.images"]
    assert images["registry"]["config_path"] == render.REGISTRIES
    address = f"{ADDRESSES.switch}:5000"
    hosts = tomllib.loads(render.registry_hosts(address))
    assert list(hosts["host"]) == [hosts["server"]] == [f"http://{address}"]
    assert render.registry_config(Path("/cluster/registry"), address)["http"]["addr"] == address


@pytest.mark.parametrize("cgroup_v1", [True, False])
def test_kubelet_has_credentials_and_a_cgroup_of_its_own(cgroup_v1: bool) -> None:
    config = render.kubelet_config(PKI, "node-1", max_pods=110, cgroup_v1=cgroup_v1)
    assert config["tlsCertFile"] == "/pki/node-1.crt"
    assert config["authentication"]["anonymous"]["enabled"] is False
    assert config["clusterDNS"] == [plan.SERVICE_DNS]
    # Version 2 uses the kubelet's own defaults.
    assert ("cgroupsPerQOS" in config) == cgroup_v1


def test_no_pod_is_scheduled_on_the_control_planes_node() -> None:
    taints = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    config = render.kubelet_config(PKI, "node-1", max_pods=110, cgroup_v1=False, control_plane=True)
    assert config["registerWithTaints"] == taints
    assert "registerWithTaints" not in render.kubelet_config(PKI, "node-2", max_pods=110, cgroup_v1=False)


def test_etcd_is_on_the_first_node_alone() -> None:
    state = State("t", 0, [16440], {"node-1": 1, "node-2": 2}, servers=["node-1", "node-2"])
    assert f"tmpfs {state.etcd}" in machines.node_script(state, "node-1")
    assert str(state.etcd) not in machines.node_script(state, "node-2")


def test_the_second_api_server_shares_etcd() -> None:
    near = render.apiserver_args(ADDRESSES, PKI, "198.18.16.16")
    far = render.apiserver_args(ADDRESSES, PKI, "198.18.16.17", "198.18.16.16")
    assert "--etcd-servers=http://127.0.0.1:2379" in near
    assert "--etcd-servers=https://198.18.16.16:2379" in far
    assert "--etcd-certfile=/pki/apiserver-etcd.crt" in far
    shared = render.etcd_args(Path("/data"), PKI, "198.18.16.16")
    assert "--listen-client-urls=http://127.0.0.1:2379,https://198.18.16.16:2379" in shared
    assert "--client-cert-auth=true" in shared
    assert not any("https" in argument for argument in render.etcd_args(Path("/data"), PKI))


def test_apiserver_authorizes_nodes_as_nodes() -> None:
    args = render.apiserver_args(ADDRESSES, PKI, "198.18.16.16")
    assert "--authorization-mode=Node,RBAC" in args
    assert "--enable-admission-plugins=NodeRestriction" in args
    assert "--advertise-address=198.18.16.16" in args
    assert "--kubelet-preferred-address-types=InternalIP" in args


@pytest.mark.parametrize("allocate", [True, False])
def test_node_ranges_are_allocated_only_when_asked_for(allocate: bool) -> None:
    args = render.controller_manager_args(ADDRESSES, PKI, Kind(allocate_node_cidrs=allocate))
    assert ("--allocate-node-cidrs=true" in args) == allocate


def test_node_ranges_come_from_the_pod_network_unless_configured_otherwise() -> None:
    args = render.controller_manager_args(ADDRESSES, PKI, Kind(allocate_node_cidrs=True))
    assert f"--cluster-cidr={ADDRESSES.pod_cidrs}" in args
    wide = "10.128.0.0/9"
    args = render.controller_manager_args(ADDRESSES, PKI, Kind(allocate_node_cidrs=True, node_cidrs=wide))
    assert f"--cluster-cidr={wide}" in args
    assert not [arg for arg in args if arg.startswith("--node-cidr-mask-size")]
    args = render.controller_manager_args(ADDRESSES, PKI, Kind(allocate_node_cidrs=True, node_cidr_length=25))
    assert "--node-cidr-mask-size=25" in args


def test_kube_proxy_leaves_sysctls_alone_that_a_namespace_cannot_set() -> None:
    config = render.kube_proxy_config(ADDRESSES, PKI, "node-1", Kind())
    assert config["mode"] == "nftables"
    assert config["conntrack"] == {
        "maxPerCore": 0,
        "tcpEstablishedTimeout": "0s",
        "tcpCloseWaitTimeout": "0s",
    }


def test_kube_proxy_knows_the_pod_networks_only_when_configured() -> None:
    assert "clusterCIDR" not in render.kube_proxy_config(ADDRESSES, PKI, "node-1", Kind())
    configured = Kind(proxy_mode="iptables", proxy_cluster_cidr=True)
    config = render.kube_proxy_config(ADDRESSES, PKI, "node-1", configured)
    assert (config["mode"], config["clusterCIDR"]) == ("iptables", plan.POD_CIDR)


def test_json_configuration_is_yaml_too() -> None:
    config = render.kube_proxy_config(ADDRESSES, PKI, "node-1", Kind())
    assert yaml.safe_load(render.as_json(config)) == json.loads(render.as_json(config)) == config


def test_dns_answers_at_the_address_that_kubelets_hand_out() -> None:
    objects = {item["kind"]: item for item in manifests.base_objects()}
    assert objects["Service"]["spec"]["clusterIP"] == plan.SERVICE_DNS
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    # No upstream: a cluster under test asks nobody outside.
    assert "forward" not in objects["ConfigMap"]["data"]["Corefile"]


def test_a_node_shields_the_machine() -> None:
    state = State("t", 0, [16440], {"node-1": 1})
    script = machines.node_script(state, "node-1")
    for name in machines.FAKE_SYSCTLS:
        assert f"/proc/sys/{name}" in script
    assert "mount -t tmpfs -o mode=0755 tmpfs /run" in script
    assert script.index("mount -t overlay") < script.index("/etc/hosts")
    assert script.splitlines()[-1] == "mount --make-rshared /"


def test_a_node_filters_by_the_reverse_path() -> None:
    assert all("rp_filter; do echo 1" in machines.boot_settings(index, Kind())[0] for index in (1, 2))


def test_a_node_forwards_nothing_from_new_interfaces_and_every_second_nothing_at_all() -> None:
    default = "echo 0 > /proc/sys/net/ipv4/conf/default/forwarding"
    for index, forwards in ((1, 0), (2, 1)):
        switch = f"echo {forwards} > /proc/sys/net/ipv4/ip_forward"
        assert machines.boot_settings(index, Kind())[-2:] == [switch, default]


def test_hosts_forward_from_every_interface_when_asked_to() -> None:
    kind = Kind(host_forwarding=True)
    for index in (1, 2):
        assert all(line.startswith("echo 1 ") for line in machines.boot_settings(index, kind)[-2:])


def test_hosts_file_names_every_machine() -> None:
    text = render.hosts_file(ADDRESSES, {"node-1": 1, "node-2": 2})
    assert f"{ADDRESSES.node(2)} node-2" in text
    assert f"{ADDRESSES.node(1)} node-1" in text


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct",
            "mount -t cgroup -o cpu,cpuacct cgroup /sys/fs/cgroup/cpu,cpuacct",
        ),
        (
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
            "mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd",
        ),
        (
            "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
    ],
)
def test_control_groups_are_mounted_again(mountinfo: str, expected: str) -> None:
    others = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n1 1 0:1 / /proc rw - proc proc rw\n"
    lines = cgroups.mount_lines(others + mountinfo)
    assert [line for line in lines if line.startswith("mount")] == [expected]


def test_a_dual_stack_cluster_has_both_families_everywhere() -> None:
    dual = plan.Addresses(1, dual_stack=True)
    configured = Kind(dual_stack=True, proxy_cluster_cidr=True)
    assert "--service-cluster-ip-range=10.96.0.0/16,fd10:96::/112" in render.apiserver_args(
        dual, PKI, dual.node(1)
    )
    assert (
        render.kube_proxy_config(dual, PKI, "node-1", configured)["clusterCIDR"]
        == "10.42.0.0/16,fd42:42::/48"
    )
    assert dual.of_machine(dual.node(1)) == ["198.18.16.16/20", "fd00:198:18:1::10/64"]
    assert ADDRESSES.of_machine(ADDRESSES.node(1)) == ["198.18.16.16/20"]

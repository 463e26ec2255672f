"""Objects that `up` creates in every cluster: the kubelets' permission for the API server, and CoreDNS."""

from __future__ import annotations

from typing import Any

from quilt_devcluster import plan, render

_LABELS = {"k8s-app": "kube-dns"}
COREFILE = f""".:53 {{
    errors
    health {{
        lameduck 1s
    }}
    ready
    kubernetes {plan.CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 5
    }}
    prometheus :9153
    reload 5s
    loadbalance
}}
"""


def base_objects() -> list[dict[str, Any]]:
    """Return everything, in the order of creation."""
    return [_kubelet_access(), *_dns_identity(), _dns_config(), _dns_deployment(), _dns_service()]


def _meta(name: str, *, namespaced: bool = True) -> dict[str, Any]:
    return {"name": name, "namespace": "kube-system", "labels": _LABELS} if namespaced else {"name": name}


def _binding(name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _meta(name, namespaced=False),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _kubelet_access() -> dict[str, Any]:
    """Let the API server's client certificate read logs and execute in pods through the kubelets."""
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "quilt:apiserver-kubelet"}
    return _binding("quilt:apiserver-kubelet", "system:kubelet-api-admin", user)


def _dns_identity() -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta("coredns")},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": _meta("quilt:coredns", namespaced=False),
            "rules": rules,
        },
        _binding(
            "quilt:coredns",
            "quilt:coredns",
            {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"},
        ),
    ]


def _dns_config() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta("coredns"),
        "data": {"Corefile": COREFILE},
    }


def _probe(path: str, port: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 2, "failureThreshold": 15}


def _dns_container() -> dict[str, Any]:
    return {
        "name": "coredns",
        "image": render.COREDNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
        ],
        "readinessProbe": _probe("/ready", 8181),
        "livenessProbe": _probe("/health", 8080),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }


def _dns_deployment() -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta("coredns"),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "dnsPolicy": "Default",
                    # As in kubeadm's manifest.
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": plan.CONTROL_PLANE_LABEL, "effect": "NoSchedule"},
                    ],
                    "containers": [_dns_container()],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    }


def _dns_service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta("kube-dns"),
        "spec": {
            "clusterIP": plan.SERVICE_DNS,
            "selector": _LABELS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
            ],
        },
    }

"""Reading what a Flannel of the cluster is configured with, and kube-proxy's clusterCIDR."""

from __future__ import annotations

import json

import yaml

from quilt_cli.core.beside_flannel import ANNOTATION, Flannel
from quilt_cli.core.objects import at, text
from quilt_crds.names import CONFIGMAP, DAEMONSET, NODE
from quilt_crds.wire import Node
from quilt_kube.request import ApiError, Json
from quilt_kube.sync import Client

_NETWORK = "net-conf.json"
_PROXY = CONFIGMAP.path("kube-proxy", namespace="kube-system")


def read_flannel(client: Client) -> Flannel | None:
    """Flannel's DaemonSet and its network, or what the Nodes say of one; None without one.

    Raises ApiError where DaemonSets or Nodes may not be read.
    """
    found = (raw for raw in client.items(DAEMONSET.path()) if "flannel" in raw["metadata"]["name"])
    daemonset = next(found, None)
    if daemonset is not None:
        return Flannel.read(daemonset, _network(client, daemonset))
    nodes = client.objects(NODE.path(), Node)
    backends = (node.metadata.annotations.get(ANNOTATION, "") for node in nodes)
    backend = next(filter(None, backends), "")
    return Flannel(backend=backend) if backend else None


def read_proxy_cidr(client: Client) -> str | None:
    """The clusterCIDR of kubeadm's kube-proxy, empty for none; None where it cannot be read."""
    configuration = _entry(client, _PROXY, "config.conf")
    return text(yaml.safe_load(configuration), "clusterCIDR") if configuration else None


def _network(client: Client, daemonset: Json) -> Json:
    """The document net-conf.json of a ConfigMap that the DaemonSet mounts; empty where it cannot be read."""
    namespace = text(daemonset, "metadata", "namespace")
    volumes = at(daemonset, "spec", "template", "spec", "volumes") or []
    names = filter(None, (text(volume, "configMap", "name") for volume in volumes))
    documents = (_entry(client, CONFIGMAP.path(name, namespace=namespace), _NETWORK) for name in names)
    network: Json = json.loads(next(filter(None, documents), "{}"))
    return network


def _entry(client: Client, path: str, name: str) -> str:
    """An entry of a ConfigMap; empty where it does not exist or may not be read."""
    try:
        return text(client.find(path), "data", name)
    except ApiError:
        return ""

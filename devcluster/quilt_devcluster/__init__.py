"""A real Kubernetes on one Linux machine, for the demo, the tests and the benchmarks.

etcd, kube-apiserver, controller-manager, scheduler, kubelets, containerd and kube-proxy run from binaries
built here out of pinned Go modules; every node has namespaces of its own, joined by a bridge in one more, and
the first node has the control plane. Nothing is put into the root namespace but one supervisor process per
cluster, which also listens on a loopback port for the host's own kubectl and helm.

    from quilt_devcluster import Cluster

    with Cluster.up(name="t1", nodes=2) as cluster:
        cluster.kubectl("get", "nodes")
"""

from quilt_devcluster.cluster import Cluster
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kind import Kind

__all__ = ["Cluster", "DevclusterError", "Kind"]

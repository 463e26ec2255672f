"""The text of `quilt-devcluster status`."""

from __future__ import annotations

from quilt_devcluster.cluster import Cluster
from quilt_devcluster.errors import DevclusterError


def table(rows: list[tuple[str, ...]]) -> str:
    """Return `rows`, the first of which is the heading, as aligned text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def status(cluster: Cluster) -> str:
    """Return the state of a cluster: where it is, its nodes, its programs."""
    try:
        ready = cluster.ready_nodes()
        reachable = "ready"
    except (OSError, DevclusterError) as error:
        ready, reachable = {}, f"not reachable: {error}"
    nodes: list[tuple[str, ...]] = [("NODE", "ADDRESS", "MACHINE", "READY")]
    for node in cluster.nodes:
        try:
            machine = f"on (pid {cluster.node_pid(node)})"
        except DevclusterError:
            machine = "off"
        known = {True: "yes", False: "no"}[ready[node]] if node in ready else "not registered"
        nodes.append((node, cluster.node_ip(node), machine, known))
    programs: list[tuple[str, ...]] = [("PROGRAM", "PID", "RUNS FOR", "RESTARTS", "LOG")]
    for item in cluster.programs():
        age = f"{item['age']:.0f} s" if item["running"] else "stopped"
        programs.append((str(item["name"]), str(item["pid"]), age, str(item["restarts"]), str(item["log"])))
    return "\n".join(
        (
            f"cluster {cluster.name}: API {reachable}",
            f"kubeconfig: {cluster.kubeconfig}",
            "",
            table(nodes),
            "",
            table(programs),
        )
    )

"""The conformance suite of ClusterNetworkPolicy, run on a cluster."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

from quilt_devcluster import binaries
from quilt_devcluster.cluster import Cluster
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.netpol import NETPOL, Outcome, prepare, run_program
from quilt_devcluster.shell import fetch

MODULE = "sigs.k8s.io/network-policy-api"
# The experimental channel: the fields of the standard one, named ports and nodes.
CRD = "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml"
NAME = "clusternetworkpolicies.policy.networking.k8s.io"
NOTICED_S = 70.0
# Each of their subtests sends SCTP, alone or among others; `go test -skip` has one pattern for each level.
_ALL_SCTP = "(Egress|Ingress)SCTP|Gress|PortRange|EgressInlineCIDRPeers"
SCTP = f"/^CNP(Admin|Baseline)Tier({_ALL_SCTP})$|/^CNP(Admin|Baseline)TierEgressNodePeers$/deny-egress"
_RESULT = re.compile(r"^ *--- (PASS|FAIL): ClusterNetworkPolicy/(\S+) \(([0-9.]+)s\)$", re.MULTILINE)


def run(cluster: Cluster, focus: str, progress: Callable[[str], None]) -> list[Outcome]:
    """Run the tests and subtests whose names match `focus`, and return what became of each.

    `focus` is as of `go test -run`, below the suite's name. What sends SCTP is left out where this
    kernel has no such sockets. Raises DevclusterError when none ran.
    """
    folder = prepare(cluster, progress)
    add_kind(cluster, progress)
    words = command(folder / "cnp", focus, without_sctp=not _has_sctp())
    log = run_program(cluster, words, progress)
    found = outcomes(log.read_text())
    if not found:
        raise DevclusterError("No test of ClusterNetworkPolicy ran.", log=log)
    return found


def add_kind(cluster: Cluster, progress: Callable[[str], None]) -> None:
    """Install the CRD; where there was none, wait until a mesh that runs has looked for it again.

    It does every half minute, and nothing tells when: the suite waits ten seconds for a policy's effect.
    """
    is_new = NAME not in cluster.kubectl("get", "crd", "-o", "name")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(_module() / CRD))
    if is_new:
        progress(f"{NAME} is new: the mesh looks for it within {NOTICED_S:.0f} seconds")
        time.sleep(NOTICED_S)


def command(program: Path, focus: str, *, without_sctp: bool) -> list[str]:
    """Return the command line of the suite."""
    words = [str(program), "-test.v", "-test.timeout=2h", f"-test.run=^ClusterNetworkPolicy$/{focus}"]
    return [*words, f"-test.skip={SCTP}"] if without_sctp else words


def outcomes(log: str) -> list[Outcome]:
    """Return what the output of `go test -v` says of the tests and subtests that ran to an end."""
    return [Outcome(name, result == "PASS", float(seconds)) for result, name, seconds in _RESULT.findall(log)]


def _module() -> Path:
    """Return the folder of the suite's module, which has the CRD of its release."""
    module = fetch(
        [binaries.go_program(), "mod", "download", "-json", MODULE],
        what=f"Fetching {MODULE}",
        hint="a module that cannot be fetched means that no Go module proxy is reachable",
        cwd=NETPOL.module,
    )
    return Path(json.loads(module)["Dir"])


def _has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True

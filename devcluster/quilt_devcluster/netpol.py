"""Kubernetes' own end-to-end tests of network policies, run on a cluster.

They are built from Kubernetes' module alone (`tools/netpol`), with the image that their pods run.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quilt_devcluster import binaries, images, paths
from quilt_devcluster.cluster import Cluster
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.tools import Tool

NETPOL = Tool("netpol", {"netpol": ".", "agnhost": "k8s.io/kubernetes/test/images/agnhost"})
AGNHOST_IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
"""As `test/utils/image/manifest.go` of this version names it."""
# Not every kernel has SCTP sockets, which these tests' pods open.
_LABELS = "!Feature:SCTPConnectivity"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test that ran; `seconds` it took, `message` why it failed."""

    name: str
    passed: bool
    seconds: float
    message: str = ""


def run(cluster: Cluster, focus: str, progress: Callable[[str], None]) -> list[Outcome]:
    """Run the tests whose name matches `focus`, a regular expression, and return what became of each.

    Raises DevclusterError when none ran.
    """
    folder = binaries.build(NETPOL, progress)
    cluster.load_images(images.program_archive(AGNHOST_IMAGE, folder / "agnhost", "/agnhost", progress))
    report, log = cluster.folder / "netpol.json", paths.cache_dir() / "log" / "netpol.log"
    report.unlink(missing_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    progress(f"running; {log} has what they print")
    with log.open("w") as sink:
        subprocess.run(
            command(folder / "netpol", cluster.kubeconfig, focus, report),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=cluster.folder,
        )
    found = outcomes(report.read_text()) if report.exists() else []
    if not found:
        raise DevclusterError("No test of network policies ran.", log=log)
    return found


def command(program: Path, kubeconfig: Path, focus: str, report: Path) -> list[str]:
    """Return the command line; without a focus the framework leaves out every feature."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        "--provider=skeleton",
        f"--ginkgo.focus={focus}",
        f"--ginkgo.label-filter={_LABELS}",
        "--ginkgo.no-color",
        "--ginkgo.timeout=3h",
        f"--ginkgo.json-report={report}",
    ]


def outcomes(report: str) -> list[Outcome]:
    """Return what a report of ginkgo says of the tests that ran."""
    specs: list[dict[str, Any]] = [
        spec
        for suite in json.loads(report)
        for spec in suite["SpecReports"] or ()
        if spec["LeafNodeType"] == "It"
    ]
    return [
        Outcome(
            spec["LeafNodeText"],
            spec["State"] == "passed",
            spec["RunTime"] / 1e9,
            spec.get("Failure", {}).get("Message", ""),
        )
        for spec in specs
        if spec["State"] not in ("skipped", "pending")
    ]

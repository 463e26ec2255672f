"""Kubernetes' own tests of network policies, run on a cluster; and what the suite in `cnp` shares with them.

They are built from their modules alone (`tools/netpol`), with the image that the pods of both run.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quilt_devcluster import binaries, images, paths
from quilt_devcluster.cluster import Cluster
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.tools import Tool

NETPOL = Tool("netpol", {"netpol": ".", "cnp": "./cnp", "agnhost": "./agnhost"})
AGNHOST_IMAGES = tuple(f"registry.k8s.io/e2e-test-images/agnhost:{version}" for version in ("2.63.0", "2.45"))
"""As `test/utils/image/manifest.go` of that Kubernetes and the manifests of the other suite name it."""
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
    report = cluster.folder / "netpol.json"
    report.unlink(missing_ok=True)
    folder = prepare(cluster, progress)
    log = run_program(cluster, command(folder / "netpol", cluster.kubeconfig, focus, report), progress)
    found = outcomes(report.read_text()) if report.exists() else []
    if not found:
        raise DevclusterError("No test of network policies ran.", log=log)
    return found


def prepare(cluster: Cluster, progress: Callable[[str], None]) -> Path:
    """Give the nodes what the pods of both suites run, and return the folder with the suites' programs."""
    folder = binaries.build(NETPOL, progress)
    agnhost = folder / "agnhost"
    cluster.load_images(images.program_archive(AGNHOST_IMAGES, agnhost, ["/agnhost", "/bin/bash"], progress))
    return folder


def run_program(cluster: Cluster, words: Sequence[str], progress: Callable[[str], None]) -> Path:
    """Run a suite to its end, whatever that is, and return the log of what it printed."""
    log = paths.cache_dir() / "log" / f"{Path(words[0]).name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    progress(f"running; {log} has what they print")
    with log.open("w") as sink:
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=cluster.folder,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        )
    return log


def command(program: Path, kubeconfig: Path, focus: str, report: Path) -> list[str]:
    """Return the command line; without a focus the framework leaves out every feature."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        "--provider=skeleton",
        f"--ginkgo.focus={focus or 'Netpol'}",
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

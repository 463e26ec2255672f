"""Which programs the devcluster is made of, and the key under which each build of them is cached.

Every tool is a small Go module in `tools/<name>` that pins one upstream project by go.mod and go.sum. A
build is a pure function of the files there and the flags here, so their hash names the folder that keeps the
result.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from quilt_devcluster import paths

KUBERNETES_VERSION = "1.36.3"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_KUBERNETES_LDFLAGS = " ".join(
    f"-X {_VERSION_PACKAGE}.{name}={value}"
    for name, value in (
        ("gitVersion", f"v{KUBERNETES_VERSION}"),
        ("gitMajor", KUBERNETES_VERSION.split(".")[0]),
        ("gitMinor", KUBERNETES_VERSION.split(".")[1]),
        ("gitTreeState", "clean"),
    )
)


@dataclass(frozen=True, slots=True)
class Tool:
    """One Go module under `tools/` and the programs built from it: name of the binary → Go package."""

    name: str
    programs: dict[str, str]
    tags: tuple[str, ...] = ()
    ldflags: str = ""
    cgo: bool = False
    source: Path = field(default=paths.TOOLS)

    @property
    def module(self) -> Path:
        """The folder with this tool's go.mod and go.sum."""
        return self.source / self.name

    def go_flags(self) -> list[str]:
        """Return the flags of `go build`; paths are trimmed so that a build depends on no folder's name."""
        flags = ["-trimpath", "-ldflags", f"-s -w {self.ldflags}".strip()]
        return [*flags, "-tags", ",".join(self.tags)] if self.tags else flags

    def key(self) -> str:
        """Return the 12 hexadecimal digits that stand for all inputs of this tool's build."""
        digest = hashlib.sha256()
        # go.mod, go.sum, a program of its own, and what go.mod may replace a dependency with.
        for path in sorted(path for path in self.module.rglob("*") if path.is_file()):
            digest.update(path.read_bytes())
        flags = {"flags": self.go_flags(), "programs": self.programs, "cgo": self.cgo}
        digest.update(json.dumps(flags, sort_keys=True).encode())
        return digest.hexdigest()[:12]

    def folder(self) -> Path:
        """Return the cache folder of this build, whether it exists or not."""
        return paths.cache_dir() / "bin" / f"{self.name}-{self.key()}"


def _plugins(*groups: tuple[str, str]) -> dict[str, str]:
    base = "github.com/containernetworking/plugins/plugins"
    return {name: f"{base}/{group}/{name}" for group, name in groups}


# The slowest first: a user who watches sees at once that Kubernetes needs the time.
TOOLS: tuple[Tool, ...] = (
    Tool(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kubectl",
                "kube-proxy",
            )
        },
        ldflags=_KUBERNETES_LDFLAGS,
    ),
    Tool(
        "containerd",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "ctr", "containerd-shim-runc-v2")
        },
        tags=("no_btrfs", "no_zfs", "no_devmapper"),
    ),
    # Without the seccomp tag runc refuses every pod that asks for RuntimeDefault; libseccomp needs cgo.
    Tool("runc", {"runc": "github.com/opencontainers/runc"}, tags=("seccomp",), cgo=True),
    Tool("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Tool(
        "cni-plugins",
        _plugins(
            ("main", "bridge"),
            ("main", "loopback"),
            ("ipam", "host-local"),
            ("meta", "portmap"),
            ("meta", "bandwidth"),
        ),
    ),
    Tool("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Tool("coredns", {"coredns": "github.com/coredns/coredns"}),
    Tool("grpcurl", {"grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl"}),
    Tool("registry", {"registry": "."}),
    Tool("kstatus", {"kstatus": "."}),
)
# Without the ways to find targets that need a cloud's libraries, and without the assets of its pages: a test
# names its targets in a file.
PROMETHEUS = Tool(
    "prometheus",
    {name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("promtool", "prometheus")},
    tags=("remove_all_sd",),
)
"""Built where a test asks for it, not with the others: no cluster needs it."""

BY_PROGRAM: dict[str, Tool] = {program: tool for tool in TOOLS for program in tool.programs}

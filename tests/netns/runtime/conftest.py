"""A node: a namespace with a real runtime whose only capability is NET_ADMIN. Pods are namespaces too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import Namespace
from tests.support.runtime_node import ROOT, Node


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quilt-cni binary, built as the image builds it; QUILT_CNI names one where nothing can be built."""
    if ready := os.environ.get("QUILT_CNI"):
        return Path(ready)
    path = tmp_path_factory.mktemp("cni") / "quilt-cni"
    command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(path), "."]
    subprocess.run(command, cwd=ROOT / "cni", env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return path


@pytest.fixture
def make_node(
    make_netns: Callable[[], Namespace], tmp_path: Path, plugin: Path
) -> Iterator[Callable[[], Node]]:
    """Make nodes whose runtime is not started yet."""
    nodes: list[Node] = []

    def make() -> Node:
        directory = tmp_path / f"node{len(nodes)}"
        directory.mkdir()
        nodes.append(Node(make_netns(), directory, plugin))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(make_node: Callable[[], Node]) -> Node:
    """A node whose runtime runs and has no subnet yet."""
    made = make_node()
    made.start()
    return made


@pytest.fixture
def ready_node(node: Node) -> Node:
    """A node with the subnet 10.42.1.0/24."""
    node.give_subnet()
    return node

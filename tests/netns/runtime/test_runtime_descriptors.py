"""A runtime that has no descriptors left serves again when it has, and says when a part of it has ended."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quilt_proto import node_pb2
from tests.support.runtime_node import TIMEOUT, Node, eventually

HEALTH = "http://127.0.0.1:9471/healthz"


@contextlib.contextmanager
def no_descriptors(node: Node) -> Iterator[None]:
    """Let the runtime open nothing more while the block runs; what it has open stays."""
    assert node.process is not None
    before = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, before)


def knock(path: Path) -> None:
    """Connect and go. A thread that waits in accept() has its descriptor already: the third is too many."""
    kind = socket.SOCK_SEQPACKET if path.name == "routes.sock" else socket.SOCK_STREAM
    for _ in range(3):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.settimeout(TIMEOUT)
            client.connect(str(path))


def able(node: Node) -> bool:
    """A repair that failed meanwhile is a problem for a second more."""
    status = lambda: node.cni("STATUS", version="1.1.0", timeoutSeconds=20).code == 0  # noqa: E731
    return bool(eventually(status, "a pod can start"))


def kept(node: Node) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(node.socket_dir / "keep.sock"))
        client.sendall(b'{"do": "take", "name": "multicast"}\n')
        try:
            return json.loads(client.recv(256)) == {"held": False}
        except TimeoutError:
            return False


def called(node: Node) -> bool:
    answer = node.config.GetStatus(node_pb2.GetStatusRequest(), wait_for_ready=True, timeout=TIMEOUT)
    return bool(answer.subnet == "10.42.1.0/24")


def routed(node: Node) -> bool:
    request = node_pb2.ApplyRoutesRequest(remove=["10.42.9.0/24"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(node.socket_dir / "routes.sock"))
        client.send(request.SerializeToString())
        answer = node_pb2.ApplyRoutesResponse.FromString(client.recv(1 << 16))
    return [result.success for result in answer.results] == [True]


def probed(node: Node) -> bool:
    return node.netns.run("curl", "-s", "-m", "30", HEALTH) == "ok\n"


SERVED: dict[str, Callable[[Node], bool]] = {
    "cni.sock": able,
    "keep.sock": kept,
    "routes.sock": routed,
    "runtime.sock": called,
    "healthz": probed,
}


@pytest.mark.parametrize("name", list(SERVED))
def test_who_connects_while_no_descriptor_is_left_does_not_end_the_service(
    ready_node: Node, name: str
) -> None:
    """t22: A socket whose accept() failed for want of descriptors serves again once there are some."""
    with no_descriptors(ready_node):
        if name == "healthz":
            ready_node.netns.run("sh", "-c", f"for i in 1 2 3; do curl -s -m 1 {HEALTH}; done; true")
        else:
            knock(ready_node.socket_dir / name)
            time.sleep(0.5)  # the fault lasts a while: no event tells that it was met
    assert SERVED[name](ready_node)
    assert probed(ready_node)


FATAL = """
import socket, sys, threading
from quilt_runtime.main import main

accept = socket.socket.accept

def fatal(self):
    accepted = accept(self)
    if threading.current_thread().name == sys.argv[1]:
        raise SystemExit(1)
    return accepted

socket.socket.accept = fatal
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("thread", "name"),
    [("cni-accept", "cni.sock"), ("keeper", "keep.sock"), ("routes-accept", "routes.sock")],
)
def test_a_runtime_of_which_a_serving_thread_has_ended_is_not_healthy(
    make_node: Callable[[], Node], thread: str, name: str
) -> None:
    """t22: /healthz fails while a thread that should serve is dead, so that the kubelet restarts it."""
    node = make_node()
    node.start(program=("-c", FATAL, thread))
    assert probed(node)
    knock(node.socket_dir / name)
    with contextlib.suppress(AssertionError):
        eventually(lambda: not probed(node), "the probe fails", timeout=10)
    answer = node.netns.run("curl", "-s", "-w", "%{http_code}", HEALTH)
    assert answer == f"the thread {thread} has ended; the log has the reason\n503"

"""Who may speak to the runtime over the network: clients with a certificate of the authority, nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from quilt_proto import node_pb2, node_pb2_grpc
from tests.support.certificates import SERVER, Authority, client, tls_flags
from tests.support.runtime_node import TIMEOUT, Node, eventually

ADDRESS = "127.0.0.1:50051"


def answered(node: Node, relay: Path, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a new connection with these credentials gets an answer."""
    channel = node.channel(relay, credentials, SERVER)
    try:
        node_pb2_grpc.NodeConfigStub(channel).GetStatus(node_pb2.GetStatusRequest(), timeout=TIMEOUT)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def test_unknown_clients_are_refused(
    make_node: Callable[[], Node], authority: Authority, tmp_path: Path
) -> None:
    node = make_node()
    node.start(f"--grpc-addr={ADDRESS}", *tls_flags(authority))
    stranger = Authority(tmp_path, "stranger")
    with node.relay(ADDRESS) as relay:
        assert answered(node, relay, client(authority))
        assert not answered(node, relay, client(authority, stranger)), "another authority's certificate"
        assert not answered(node, relay, client(authority, known=False)), "no certificate"
        assert not answered(node, relay, None), "plain text"
        assert not answered(node, relay, client(stranger)), "the client does not know the server"
    assert node.process is not None
    assert node.process.poll() is None


def test_new_certificates_are_taken_up_without_a_restart(
    make_node: Callable[[], Node], authority: Authority, tmp_path: Path
) -> None:
    node = make_node()
    node.start(f"--grpc-addr={ADDRESS}", *tls_flags(authority))
    successor = Authority(tmp_path, "successor")
    old, new = client(authority), client(successor)
    with node.relay(ADDRESS) as relay:
        assert answered(node, relay, old)
        certificate, key = successor.issue("runtime")
        certificate.replace(authority.folder / "runtime.crt")
        assert answered(node, relay, old), "half of a rotation changes nothing"
        assert node.events("certificates_unusable")
        key.replace(authority.folder / "runtime.key")
        successor.certificate.replace(authority.certificate)
        eventually(lambda: answered(node, relay, new), "the new certificates are in use")
        assert not answered(node, relay, old)
    assert len(node.events("certificates_reloaded")) == 1

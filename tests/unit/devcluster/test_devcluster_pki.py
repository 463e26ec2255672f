"""Certificates that TLS really accepts, and nothing more."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest

from quilt_devcluster.pki import Authority, Identity, kubeconfig
from quilt_kube.access import make_tls


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, object]:
    """Shake hands in memory and return the client's certificate as the server sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return dict(far.getpeercert() or {})


def _contexts(
    folder: Path, authority: Authority, serving: Identity, client: Identity
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority.identity.write(folder, "ca")
    serving.write(folder, "serving")
    client.write(folder, "client")
    far = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    far.load_verify_locations(folder / "ca.crt")
    far.verify_mode = ssl.CERT_REQUIRED
    far.load_cert_chain(folder / "serving.crt", folder / "serving.key")
    near = make_tls(authority.identity.certificate.encode())
    near.load_cert_chain(folder / "client.crt", folder / "client.key")
    return far, near


@pytest.mark.parametrize("name", ["kubernetes", "198.18.0.2"])
def test_both_sides_accept_each_other(tmp_path: Path, name: str) -> None:
    authority = Authority.create("test")
    serving = authority.sign("api", names=("kubernetes", "198.18.0.2"), server=True)
    client = authority.sign("system:node:node-1", groups=("system:nodes",))
    seen = _handshake(*_contexts(tmp_path, authority, serving, client), name)
    assert seen["subject"] == (
        (("organizationName", "system:nodes"),),
        (("commonName", "system:node:node-1"),),
    )


def test_certificates_are_as_bare_as_people_have_them(tmp_path: Path) -> None:
    authority = Authority.create("test")
    serving = authority.sign("api", names=("api",), server=True)
    contexts = _contexts(tmp_path, authority, serving, authority.sign("c"))
    contexts[1].verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(*contexts, "api")


def test_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority.create("test")
    contexts = _contexts(
        tmp_path, authority, authority.sign("a", names=("a",), server=True), authority.sign("c")
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(*contexts, "b")


def test_a_stored_authority_signs_on(tmp_path: Path) -> None:
    Authority.create("test").identity.write(tmp_path, "ca")
    again = Authority.load(tmp_path, "ca")
    contexts = _contexts(tmp_path, again, again.sign("a", names=("a",), server=True), again.sign("c"))
    assert _handshake(*contexts, "a")["subject"] == ((("commonName", "c"),),)


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    Authority.create("test").identity.write(tmp_path, "ca")
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_kubeconfig_names_one_cluster_and_one_user() -> None:
    authority = Authority.create("test")
    config = json.loads(kubeconfig("https://x:1", authority.identity.certificate, "me", authority.sign("me")))
    assert config["clusters"][0]["cluster"]["server"] == "https://x:1"
    context = config["contexts"][0]["context"]
    assert (context["cluster"], context["user"]) == (
        config["clusters"][0]["name"],
        config["users"][0]["name"],
    )

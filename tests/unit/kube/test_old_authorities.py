"""Authorities that kubectl accepts and Python 3.13 does not by itself: older kubeadm's, EKS', home-made ones.

What 3.13 does is done here under any Python: its default contexts are strict (VERIFY_X509_STRICT).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quilt_kube import sync
from quilt_kube.access import Access, find, in_cluster
from quilt_kube.aio import Client as AgentClient
from quilt_kube.request import read
from quilt_operator.api.client import Client, find_access
from tests.support.helm import CONNECTIVITY
from tests.support.programs import load

Ask = Callable[[Path, int], None]


def _issue(
    name: str, issuer: str, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:  # fmt: skip
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(
            extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        )
    return builder.sign(signer, hashes.SHA256())


def make_account(folder: Path, *, key_usage: bool, key_identifiers: bool) -> None:
    """Write ca.crt, server.pem and token, as a service account's folder."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signing = x509.KeyUsage(True, False, True, False, False, True, True, False, False)
    extensions: list[x509.ExtensionType] = [x509.BasicConstraints(True, None)]
    extensions += [signing] if key_usage else []
    identity = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    ca = _issue("kubernetes", "kubernetes", ca_key.public_key(), ca_key, *extensions)
    mine: list[x509.ExtensionType] = [identity]
    if key_identifiers:
        mine.append(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()))
    leaf = _issue("kube-apiserver", "kubernetes", key.public_key(), ca_key, *mine)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.crt").write_bytes(ca.public_bytes(encoding))
    (folder / "server.pem").write_bytes(private + leaf.public_bytes(encoding))
    (folder / "token").write_text("t")


def kubeconfig(folder: Path, port: int) -> Path:
    authority = base64.b64encode((folder / "ca.crt").read_bytes()).decode()
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": authority}
    path = folder / "config"
    content = {
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path.write_text(json.dumps(content))
    return path


def environment(port: int) -> dict[str, str]:
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}


@pytest.fixture(params=["no key identifiers", "no key usage"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, int]]:
    """An API server whose authority is not as Python 3.13 wants it: the account's folder, and its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    identifiers = request.param == "no key usage"
    make_account(tmp_path, key_usage=not identifiers, key_identifiers=identifiers)
    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        served.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
        served.socket = context.wrap_socket(served.socket, server_side=True)
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        as_python_3_13(monkeypatch)
        yield tmp_path, served.server_port
        served.shutdown()


def as_python_3_13(monkeypatch: pytest.MonkeyPatch) -> None:
    make = ssl.create_default_context

    def strict(*arguments: object, **named: object) -> ssl.SSLContext:
        made = make(*arguments, **named)  # type: ignore[arg-type]  # whatever they are
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    monkeypatch.setattr(ssl, "create_default_context", strict)


def _agent(access: Access) -> None:
    async def ask() -> None:
        async with AgentClient(access, agent="a") as client:
            await client.send(read("/version"))

    asyncio.run(ask())


def _operator(folder: Path, port: int) -> None:
    async def ask() -> None:
        client = Client(find_access(str(kubeconfig(folder, port))))
        try:
            await client.ask(read("/version"))
        finally:
            await client.close()

    asyncio.run(ask())


def _helm_test(folder: Path, port: int) -> None:
    script = load(CONNECTIVITY)
    script.ACCOUNT = folder  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(port).items():
            patch.setenv(name, value)
        script.kubernetes("/version")


ASK: dict[str, Ask] = {
    "agent in a pod": lambda folder, port: _agent(in_cluster(environment(port), folder)),
    "agent with a kubeconfig": lambda folder, port: _agent(find(str(kubeconfig(folder, port)))),
    "command line in a pod": lambda folder, port: _cli("", environment(port), folder),
    "command line": lambda folder, port: _cli(str(kubeconfig(folder, port)), {}, folder),
    "operator": _operator,
    "helm test": _helm_test,
}


def _cli(path: str, variables: dict[str, str], folder: Path) -> None:
    sync.Client(find(path, "", variables, folder), agent="a").get("/version")


def refusal(ask: Ask, folder: Path, port: int) -> str:
    """Why a component does not reach the API server; empty when it does."""
    try:
        ask(folder, port)
    except Exception as error:  # each component has its own
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("component", ASK)
def test_an_authority_that_kubectl_accepts_is_accepted(server: tuple[Path, int], component: str) -> None:
    """u1: Authorities without key identifiers or key usage are accepted under Python 3.13, as by kubectl."""
    assert refusal(ASK[component], *server) == ""


@pytest.mark.parametrize("component", ASK)
def test_another_authority_is_refused_all_the_same(server: tuple[Path, int], component: str) -> None:
    """u1: All else about a certificate is verified as before: one of another authority is refused."""
    folder, port = server
    stranger = folder / "stranger"
    stranger.mkdir()
    make_account(stranger, key_usage=True, key_identifiers=True)
    assert "certificate verify failed" in refusal(ASK[component], stranger, port).lower()

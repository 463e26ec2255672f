"""A certificate authority for tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER = "runtime.test"


class Authority:
    """Issues certificates for servers and clients alike."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = self._write("ca.crt", builder.sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key, each time new ones under the same names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(SERVER), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = _builder(_name(name), self._name, key).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        private = self.folder / f"{name}.key"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(f"{name}.crt", builder.sign(self._key, hashes.SHA256())), private

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


def tls_flags(server: Authority, clients: Authority | None = None) -> list[str]:
    """Return the runtime's flags: its certificate is `server`'s, those of clients must be `clients`'."""
    certificate, key = server.issue("runtime")
    authority = (clients or server).certificate
    return [f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={authority}"]


def client(server: Authority, own: Authority | None = None, *, known: bool = True) -> grpc.ChannelCredentials:
    """Return a client's credentials, its certificate from `own`; not `known` is one without a certificate."""
    root = server.certificate.read_bytes()
    if not known:
        return grpc.ssl_channel_credentials(root)
    certificate, key = (own or server).issue("client")
    return grpc.ssl_channel_credentials(root, key.read_bytes(), certificate.read_bytes())

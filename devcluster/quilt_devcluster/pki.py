"""The cluster's certificates: one authority, elliptic keys, everything made in milliseconds at `up`.

They say no more than TLS needs: no key identifiers and no key usage, as authorities that a script or an older
installer made. OpenSSL and Go accept them; Python from 3.13 on does not by itself (VERIFY_X509_STRICT).
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Identity:
    """One certificate with its key, both as PEM text."""

    certificate: str
    key: str

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.crt and `name`.key (the key readable by its owner only) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.crt").write_text(self.certificate)
        key = folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_text(self.key)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def _builder(common_name: str, groups: Sequence[str]) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .serial_number(x509.random_serial_number())
        # An hour back: a clock that is set right after start must not make certificates of the future.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
    )


class Authority:
    """A certificate authority that signs client and serving certificates."""

    def __init__(self, identity: Identity) -> None:
        """Take over an existing authority, so that nodes can be added to a running cluster."""
        self.identity = identity
        self._certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
        key = serialization.load_pem_private_key(identity.key.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic curve key")
        self._key = key

    @classmethod
    def create(cls, common_name: str) -> Authority:
        """Make a new self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common_name, ())
        certificate = (
            builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(Identity(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)))

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """Read the authority that `Identity.write` left in `folder`."""
        return cls(Identity((folder / f"{name}.crt").read_text(), (folder / f"{name}.key").read_text()))

    def sign(
        self, common_name: str, *, groups: Sequence[str] = (), names: Sequence[str] = (), server: bool = False
    ) -> Identity:
        """Return a new client certificate, with `server` a serving one for `names` (hosts, addresses)."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(common_name, groups)
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(n) for n in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Identity(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def signing_key() -> tuple[str, str]:
    """Return a new private key and its public half as PEM text, for service-account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _pem(key), public.decode()


def kubeconfig(server: str, authority: str, user: str, identity: Identity) -> str:
    """Return a kubeconfig (JSON, which is YAML) for `user` at `server`, with all credentials inside."""

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "quilt",
                    "cluster": {"server": server, "certificate-authority-data": encoded(authority)},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": encoded(identity.certificate),
                        "client-key-data": encoded(identity.key),
                    },
                }
            ],
            "contexts": [{"name": "quilt", "context": {"cluster": "quilt", "user": user}}],
            "current-context": "quilt",
        },
        indent=2,
    )

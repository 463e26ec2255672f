"""Mutual TLS for addresses beyond loopback: both sides show certificates, new ones are taken up as they come.

The files are looked at with every handshake; those that do not fit together (half of a rotation) are logged
once and the ones before them go on being used, so that a rotation never closes the door.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from quilt_log import log
from quilt_runtime.core.errors import RequestError


class Certificates:
    """What the files hold, read again when one of them changed."""

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        """Read the files; raises RequestError where they are missing or do not fit together."""
        self._files = certificate, key, authority
        self._seen = self._state()
        self._complaint = ""
        self._held = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a secure port is opened with: it refuses clients that the authority does not know."""
        return grpc.dynamic_ssl_server_credentials(
            self._held,
            self._current,  # type: ignore[arg-type]  # None is "as before"
            require_client_authentication=True,
        )

    def _current(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what changed since, or None; called by gRPC with every handshake."""
        state = self._state()
        if state == self._seen:
            return None
        try:
            self._held = self._read()
        except RequestError as error:
            if str(error) != self._complaint:
                log.error("certificates_unusable", reason=str(error))
            self._complaint = str(error)
            return None
        self._seen, self._complaint = state, ""
        log.info("certificates_reloaded", certificate=str(self._files[0]))
        return self._held

    def _state(self) -> list[tuple[int, ...] | None]:
        return list(map(_identity, self._files))

    def _read(self) -> grpc.ServerCertificateConfiguration:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._files[:2])
            context.load_verify_locations(self._files[2])
            certificate, key, authority = (path.read_bytes() for path in self._files)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(map(str, self._files))
            raise RequestError(
                f"Cannot use the certificates {names}: {error}; they must be PEM files, and certificate and "
                "key must belong together"
            ) from error
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns

"""Credential plugins of kubeconfigs: programs that answer who asks (client.authentication.k8s.io)."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from quilt_kube.access import AccessError, Credentials, load_pair

# Seconds; a plugin that may talk to a person has as long as that person needs.
_PLUGIN = 60.0
# Seconds: a plugin's credential that ends so soon is replaced before.
_EARLY = 10.0


class Plugin(Credentials):
    """A credential plugin: run when a credential is missing or ends.

    `section` is the kubeconfig's `exec`, `folder` the one that a relative command is in, `cluster` what is
    passed to a plugin with `provideClusterInfo`. A certificate is loaded into `tls`. Raises AccessError;
    blocks while the plugin runs.
    """

    def __init__(
        self,
        section: Mapping[str, Any],
        folder: Path,
        cluster: Mapping[str, Any],
        tls: ssl.SSLContext | None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        command = str(section["command"])
        self._command = [str(folder / command) if "/" in command else command, *(section.get("args") or [])]
        self._hint = str(section.get("installHint") or "")
        self._tls = tls
        mode = section.get("interactiveMode") or "IfAvailable"
        self._interactive = mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if mode == "Always" and not self._interactive:
            raise AccessError(f"{command} has to ask for something, and standard input is not a terminal")
        spec: dict[str, Any] = {"interactive": self._interactive}
        if section.get("provideClusterInfo"):
            spec["cluster"] = dict(cluster)
        info = {"apiVersion": section["apiVersion"], "kind": "ExecCredential", "spec": spec}
        extra = {item["name"]: item["value"] for item in section.get("env") or []}
        self._environment = {**environment, **extra, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        self._token = ""
        self._until = -float("inf")

    def authorization(self) -> str:
        """Return the value of the Authorization header for a request sent now, or nothing."""
        if time.time() > self._until:
            self._run()
        return f"Bearer {self._token}" if self._token else ""

    def refused(self) -> None:
        """Take note that the API server did not accept it (HTTP 401)."""
        self._until = -float("inf")

    def _run(self) -> None:
        try:
            done = subprocess.run(
                self._command,
                env=self._environment,
                # It speaks to people on stderr: nothing to hold back.
                stdout=subprocess.PIPE,
                stdin=None if self._interactive else subprocess.DEVNULL,
                check=True,
                timeout=None if self._interactive else _PLUGIN,
            )
            status = json.loads(done.stdout)["status"]
            self._token = str(status.get("token") or "")
            if status.get("clientCertificateData") and self._tls is not None:
                pair = status["clientCertificateData"].encode(), status["clientKeyData"].encode()
                load_pair(self._tls, *pair)
            ends = status.get("expirationTimestamp")
            self._until = datetime.fromisoformat(ends).timestamp() - _EARLY if ends else float("inf")
        except FileNotFoundError as error:
            hint = f"; {self._hint}" if self._hint else ""
            raise AccessError(f"its credential plugin {self._command[0]} does not exist{hint}") from error
        except (OSError, subprocess.SubprocessError) as error:
            raise AccessError(f"its credential plugin failed: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AccessError(f"its credential plugin {self._command[0]} sent no ExecCredential") from error

"""The API server asks a webhook that a pod serves: as a host's process that sends to a Service."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from quilt_devcluster.pki import Authority
from tests.support.mesh import Mesh, pod_manifest, until

CALLS = 100
SERVE = """
import http.server, json, ssl

class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        patch = [{"op": "add", "path": "/data", "value": {"asked": "yes"}}]
        import base64
        text = base64.b64encode(json.dumps(patch).encode()).decode()
        response = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch", "patch": text}
        body = json.dumps({**review, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/hook/tls.crt", "/hook/tls.key")
server = http.server.ThreadingHTTPServer(("", 8443), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _hook_pod(node: str, secret: str) -> dict[str, Any]:
    manifest = pod_manifest("hook", node, {"app": "hook"})
    container = manifest["spec"]["containers"][0]
    container["command"] = ["python3", "-c", SERVE]
    container["readinessProbe"] = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    container["volumeMounts"] = [{"name": "tls", "mountPath": "/hook"}]
    manifest["spec"]["volumes"] = [{"name": "tls", "secret": {"secretName": secret}}]
    return manifest


def _configuration(authority: Authority) -> dict[str, Any]:
    service = {"namespace": "default", "name": "hook", "port": 443}
    bundle = base64.b64encode(authority.identity.certificate.encode()).decode()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    hook = {
        "name": "hook.quilt-test.example",
        "clientConfig": {"service": service, "caBundle": bundle},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"hooked": "yes"}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 30,  # a busy machine may take its time
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "quilt-test"},
        "webhooks": [hook],
    }


@pytest.fixture(params=[0, 1, 2])
def served_by(mesh: Mesh, request: pytest.FixtureRequest) -> Iterator[str]:
    """A webhook for ConfigMaps of the namespace `hooked`, served by a pod on one of the nodes."""
    node = mesh.nodes()[request.param]
    authority = Authority.create("quilt-test")
    identity = authority.sign("hook", names=["hook.default.svc"], server=True)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}}
    namespace = {"name": "hooked", "labels": {"hooked": "yes"}}
    mesh.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace},
        secret | {"stringData": {"tls.crt": identity.certificate, "tls.key": identity.key}},
        service | {"spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]}},
        _hook_pod(node, "hook"),
    )
    try:
        mesh.kubectl("wait", "pod/hook", "--for=condition=Ready", "--timeout=60s")
        mesh.apply(_configuration(authority))
        yield node
    finally:
        mesh.kubectl("delete", "mutatingwebhookconfiguration", "quilt-test", "--ignore-not-found")
        mesh.delete_pods("hook")
        mesh.kubectl("delete", "service/hook", "secret/hook", "namespace/hooked", "--ignore-not-found")


def test_the_api_server_reaches_a_webhook_in_a_pod(mesh: Mesh, served_by: str) -> None:
    """t13: The API server's calls of a webhook are answered, whichever node its pod is on."""
    until(f"the webhook on {served_by} is asked", lambda: _asked(mesh, "first"), timeout=60, every=0.5)
    answered = sum(_asked(mesh, f"call-{number}") for number in range(CALLS))
    assert answered == CALLS


def _asked(mesh: Mesh, name: str) -> bool:
    """Whether a ConfigMap is made with what only the webhook adds; each is a connection of its own."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "hooked"}}
    made = json.loads(
        mesh.kubectl("create", "-f", "-", "--dry-run=server", "-o", "json", stdin=json.dumps(config_map))
    )
    data: dict[str, str] = made.get("data", {})
    return data == {"asked": "yes"}

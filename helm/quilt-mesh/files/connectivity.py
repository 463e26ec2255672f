"""`helm test`: does every node's pod reach every other node's pod over TCP, at more than one packet's size?

`serve` runs on every node and answers GET / with a body larger than any MTU, and GET /reach/ADDRESS with what
it sees when it asks that address itself. `check` runs once: it asks every server to ask every other.
"""

import http.server
import json
import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PORT = 8470
BODY = os.environ.get("NODE_NAME", "?").encode().ljust(16384, b".")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def url(address, path=""):
    """URL of the server at an IPv4 or IPv6 address."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{PORT}/{path}"


def fetch(target):
    """Body behind a URL; raises OSError when it does not come within 3 s."""
    with urllib.request.urlopen(target, timeout=3) as answer:  # noqa: S310  # url() makes http only
        return answer.read()


class Server(http.server.BaseHTTPRequestHandler):
    """One pod's end of the test."""

    def do_GET(self):
        """Answer with our own name, or with whether we reach another."""
        if self.path.startswith("/reach/"):
            try:
                ok = len(fetch(url(self.path.removeprefix("/reach/")))) == len(BODY)
                self.answer(200 if ok else 502, b"reached" if ok else b"short answer")
            except OSError as error:
                self.answer(502, str(error).encode())
        else:
            self.answer(200, BODY)

    def answer(self, status, body):
        """Send one response."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing per request."""


class DualStackServer(http.server.ThreadingHTTPServer):
    """Listens on every address of both families, also where the kernel has no IPv6."""

    daemon_threads = True

    def __init__(self, address, handler):
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        host = address[0] if self.address_family == socket.AF_INET6 else ""
        super().__init__((host, address[1]), handler)

    def server_bind(self):
        """Accept IPv4 on the IPv6 socket too."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def kubernetes(path):
    """Decoded answer of the API server to a GET."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    token = (ACCOUNT / "token").read_text()
    request = urllib.request.Request(
        f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # As kubectl does: Python 3.13 would refuse authorities without key identifiers, which many clusters have.
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with urllib.request.urlopen(request, timeout=5, context=trust) as answer:  # noqa: S310  # https, above
        return json.load(answer)


def servers():
    """Addresses by node of all servers, and how many nodes should have one."""
    namespace = (ACCOUNT / "namespace").read_text()
    wanted = kubernetes(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/quilt-test-server")["status"]
    pods = kubernetes(
        f"/api/v1/namespaces/{namespace}/pods?labelSelector=app.kubernetes.io/component%3Dtest-server"
    )
    running = {
        pod["spec"]["nodeName"]: pod["status"]["podIP"]
        for pod in pods["items"]
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    }
    return running, wanted.get("desiredNumberScheduled", 0)


def unreached(running):
    """One line for every ordered pair of nodes that cannot talk."""
    lines = []
    for source, address in sorted(running.items()):
        for target, other in sorted(running.items()):
            try:
                fetch(url(address, f"reach/{other}"))
            except urllib.error.HTTPError as error:
                lines.append(f"pods of {source} do not reach {other} on {target}: {error.read().decode()}")
            except OSError as error:
                lines.append(f"this pod does not reach {address} on {source}: {error}")
                break
    return lines


def check(timeout):
    """Try until all is well or `timeout` seconds are over; answers the exit code."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            running, wanted = servers()
            faults = unreached(running)
            if len(running) < wanted or not wanted:
                faults.append(f"{len(running)} of {wanted} test servers run; see: kubectl get pods -o wide")
        except OSError as error:
            faults = [f"this pod does not reach the API server: {error}"]
        if not faults:
            pairs = len(running) ** 2
            sys.stdout.write(f"every pod reaches every other: {len(running)} nodes, {pairs} connections\n")
            return 0
        if time.monotonic() >= deadline:
            sys.stdout.write("\n".join([*faults, ""]))
            return 1
        time.sleep(1)


def main():
    """Run as `serve` or as `check SECONDS`."""
    if sys.argv[1] == "check":
        return check(float(sys.argv[2]))
    with DualStackServer(("::", PORT), Server) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

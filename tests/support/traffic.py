"""Runs inside a test pod: counts every datagram to and from its peers, and serves what it saw over HTTP.

Standard library alone. `GET /` answers the pod's name, `GET /bulk` a megabyte; `POST
/start?peers=A,B&rate=200` begins to send sequence-numbered datagrams to each peer; `POST /stop` ends it;
`POST /reset` forgets what was counted; `GET /report` tells what was sent to and received from whom: {"sent":
{peer: count}, "errors": {text: count}, "received": {peer: [sequence number]}, "named": {name: [sequence
number]}}: by the address that sent them, and by the pod's name, which is in each, as a node may translate.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT_UDP = 7000
PORT_HTTP = 8080
BULK = 1 << 20
NAME = os.environ.get("POD_NAME", socket.gethostname())


class Flows:
    """Datagrams out by a paced thread, datagrams in by another."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("0.0.0.0", PORT_UDP))
        self.sent: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.received: dict[str, dict[int, float]] = {}
        self.named: dict[str, set[int]] = {}
        self.sending = threading.Event()
        self.sender: threading.Thread | None = None
        threading.Thread(target=self._receive, daemon=True).start()

    def reset(self) -> None:
        self.sent = {}
        self.errors = {}
        self.received = {}
        self.named = {}

    def start(self, peers: list[str], rate: int) -> None:
        self.sent = dict.fromkeys(peers, 0)
        self.sending.set()
        self.sender = threading.Thread(target=self._send, args=(peers, rate), daemon=True)
        self.sender.start()

    def stop(self) -> None:
        self.sending.clear()
        if self.sender is not None:
            self.sender.join()

    def _send(self, peers: list[str], rate: int) -> None:
        due = time.monotonic()
        while self.sending.is_set():
            for peer in peers:
                payload = struct.pack("!Qd", self.sent[peer], time.time()) + NAME.encode()
                self.sent[peer] += 1
                try:
                    self.socket.sendto(payload, (peer, PORT_UDP))
                except OSError as error:
                    self.errors[f"{peer}: {error}"] = self.errors.get(f"{peer}: {error}", 0) + 1
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while True:
            payload, (peer, _) = self.socket.recvfrom(2048)
            number, sent_at = struct.unpack("!Qd", payload[:16])
            self.received.setdefault(peer, {})[number] = sent_at
            self.named.setdefault(payload[16:].decode(errors="replace"), set()).add(number)

    def report(self) -> dict[str, object]:
        received = {peer: sorted(numbers) for peer, numbers in self.received.items()}
        named = {name: sorted(numbers) for name, numbers in self.named.items()}
        return {"sent": self.sent, "errors": self.errors, "received": received, "named": named}


class Handler(BaseHTTPRequestHandler):
    flows: Flows

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/report":
            return self._answer(json.dumps(self.flows.report()))
        if urlsplit(self.path).path == "/bulk":
            return self._answer("x" * BULK)
        return self._answer(NAME)

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/start":
            self.flows.start(query["peers"][0].split(","), int(query["rate"][0]))
        elif url.path == "/stop":
            self.flows.stop()
        elif url.path == "/reset":
            self.flows.reset()
        self._answer("ok")

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        return


class Server(ThreadingHTTPServer):
    """Of both families: IPv4 clients come as ::ffff:a.b.c.d."""

    address_family = socket.AF_INET6
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    Handler.flows = Flows()
    Server(("::", PORT_HTTP), Handler).serve_forever()

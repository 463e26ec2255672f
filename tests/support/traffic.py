"""Runs inside a test pod: counts every datagram to and from its peers, and serves what it saw over HTTP.

Standard library alone. `GET /` answers the pod's name, `GET /bulk` a megabyte; `POST
/start?peers=A,B&rate=200` begins to send sequence-numbered datagrams to each peer; `POST /stop` ends it;
`POST /reset` forgets what was counted; `GET /report` tells what was sent to and received from whom: {"sent":
{peer: count}, "errors": {text: count}, "received": {peer: [sequence number]}, "named": {name: [sequence
number]}}: by the address that sent them, and by the pod's name, which is in each, as a node may translate.

Conversations are numbered messages that the other end sends back: by one TCP connection, as one flow of UDP
datagrams, or each by a TCP connection of its own (`dial`). `POST /converse?name=N&way=tcp&peer=A&rate=100`
begins one, `POST /hush` ends the sending of all, `GET /conversations` tells of each {name: {"sent": count,
"missing": [number], "last": Unix time of the last that came back, "error": text}}.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT_UDP = 7000
PORT_HTTP = 8080
PORT_ECHO = 7001
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


class Conversation:
    """One with an echoing server; what comes back late counts, however long a connection was cut."""

    def __init__(self, way: str, peer: str, rate: int) -> None:
        self.way = way
        self.peer = (peer, PORT_ECHO)
        self.rate = rate
        self.sent = 0
        self.answered: set[int] = set()
        self.last = 0.0
        self.error = ""
        self.speaking = True
        threading.Thread(target=self._run, daemon=True).start()

    def report(self) -> dict[str, object]:
        missing = [number for number in range(self.sent) if number not in self.answered]
        return {"sent": self.sent, "missing": missing, "last": self.last, "error": self.error}

    def _run(self) -> None:
        try:
            if self.way == "dial":
                return self._pace(self._dial)
            end = self._connect()
            threading.Thread(target=self._listen, args=(end,), daemon=True).start()
            self._pace(end.send)
        except OSError as error:
            self.error = str(error)

    def _connect(self) -> socket.socket:
        kind = socket.SOCK_DGRAM if self.way == "udp" else socket.SOCK_STREAM
        end = socket.socket(socket.AF_INET, kind)
        end.connect(self.peer)
        return end

    def _pace(self, send: Callable[[bytes], object]) -> None:
        due = time.monotonic()
        while self.speaking:
            self.sent += 1
            send(struct.pack("!Q", self.sent - 1))
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _dial(self, message: bytes) -> None:
        with self._connect() as end:
            end.sendall(message)
            if not (answer := end.recv(8)):
                raise ConnectionError("the other end closed it")
            self._take(answer)

    def _listen(self, end: socket.socket) -> None:
        rest = b""
        try:
            while data := end.recv(4096):
                rest += data
                while len(rest) >= 8:
                    message, rest = rest[:8], rest[8:]
                    self._take(message)
        except OSError as error:
            self.error = str(error)

    def _take(self, message: bytes) -> None:
        self.last = time.time()
        self.answered.add(int.from_bytes(message))


def echo_datagrams() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind(("0.0.0.0", PORT_ECHO))
    while True:
        payload, peer = server.recvfrom(2048)
        server.sendto(payload, peer)


def echo_streams() -> None:
    with socket.create_server(("0.0.0.0", PORT_ECHO), backlog=128) as server:
        while True:
            threading.Thread(target=echo_stream, args=(server.accept()[0],), daemon=True).start()


def echo_stream(end: socket.socket) -> None:
    with end:
        try:
            while data := end.recv(4096):
                end.sendall(data)
        except OSError:
            return


class Handler(BaseHTTPRequestHandler):
    flows: Flows
    conversations: dict[str, Conversation]

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/report":
            return self._answer(json.dumps(self.flows.report()))
        if urlsplit(self.path).path == "/conversations":
            return self._answer(json.dumps({name: one.report() for name, one in self.conversations.items()}))
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
        elif url.path == "/converse":
            way, peer, rate = (query[key][0] for key in ("way", "peer", "rate"))
            self.conversations[query["name"][0]] = Conversation(way, peer, int(rate))
        elif url.path == "/hush":
            for one in self.conversations.values():
                one.speaking = False
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
    Handler.conversations = {}
    for serve in (echo_datagrams, echo_streams):
        threading.Thread(target=serve, daemon=True).start()
    Server(("::", PORT_HTTP), Handler).serve_forever()

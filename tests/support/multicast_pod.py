"""Runs inside a test pod: joins and leaves groups, streams to them, and says over HTTP what it received.

Standard library alone, and no capability. `GET /` answers; `POST /join?group=`, `/leave?group=`,
`/listen?group=` (bound to the group without joining it), `/stream?group=&rate=&ttl=`, `/stop`, `/reset`;
`GET /report`: {"sent": {group: count}, "received": {group: {source: [count, distinct, lost]}}} with
`lost` the packets between the first and the last that did not come. No ttl: the system's.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

PORT = 5000


class Member:
    """One group's socket: bound to the group's address, so that another group's packets never count."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((group, PORT))
        self.seen: dict[str, set[int]] = {}
        self.count: dict[str, int] = {}
        self.joined = 0.0
        threading.Thread(target=self._receive, daemon=True).start()

    def change(self, option: int) -> None:
        self.sock.setsockopt(socket.IPPROTO_IP, option, socket.inet_aton(self.group) + bytes(4))

    def reset(self) -> None:
        self.seen, self.count = {}, {}

    def _receive(self) -> None:
        while True:
            data, (source, _) = self.sock.recvfrom(2048)
            (number,) = struct.unpack("!Q", data[:8])
            self.seen.setdefault(source, set()).add(number)
            self.count[source] = self.count.get(source, 0) + 1

    def report(self) -> dict[str, list[int]]:
        return {
            source: [self.count[source], len(seen), max(seen) - min(seen) + 1 - len(seen)]
            for source, seen in list(self.seen.items())
        }


MEMBERS: dict[str, Member] = {}
SENT: dict[str, int] = {}
STREAMING = threading.Event()
STREAMS: list[threading.Thread] = []


def stream(group: str, rate: int, ttl: int | None) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if ttl is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
    due = time.monotonic()
    while STREAMING.is_set():
        sock.sendto(struct.pack("!Qd", SENT.get(group, 0), time.time()), (group, PORT))
        SENT[group] = SENT.get(group, 0) + 1
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def act(path: str, query: dict[str, str]) -> object:
    group = query.get("group", "")
    if path in ("/join", "/listen"):
        member = MEMBERS.get(group) or MEMBERS.setdefault(group, Member(group))
        member.joined = time.time()
        if path == "/join":
            member.change(socket.IP_ADD_MEMBERSHIP)
        return {"at": member.joined}
    if path == "/leave":
        MEMBERS[group].change(socket.IP_DROP_MEMBERSHIP)
        return {"at": time.time()}
    if path == "/stream":
        STREAMING.set()
        ttl = int(query["ttl"]) if "ttl" in query else None
        thread = threading.Thread(target=stream, args=(group, int(query["rate"]), ttl), daemon=True)
        thread.start()
        STREAMS.append(thread)
    elif path == "/stop":
        STREAMING.clear()
        while STREAMS:
            STREAMS.pop().join()
    elif path == "/reset":
        SENT.clear()
        for member in MEMBERS.values():
            member.reset()
    return {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        received = {group: member.report() for group, member in MEMBERS.items()}
        self._answer({"sent": SENT, "received": received})

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        try:
            self._answer(act(url.path, dict(parse_qsl(url.query))))
        except OSError as error:
            self._answer({"error": str(error)})

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        return


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()

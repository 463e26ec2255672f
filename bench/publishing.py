"""What is published for a peer to be routed, and the connection by which it is, timed to the microsecond."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import flannel, peers
from bench.controlplane import ControlPlane
from bench.node import BenchError, Node
from quilt_crds.names import QUILTSUBNET, RELEASING, claim_name


@dataclass(frozen=True, slots=True)
class Thing:
    """What is published for a peer to be routed: where, and for the peer's number its body and name.

    `ending` is the change that ends the route before the object is deleted; without one its deletion does.
    """

    collection: str
    body: Callable[[int], dict[str, Any]]
    name: Callable[[int], str]
    ending: dict[str, Any] | None = None

    def path(self, number: int) -> str:
        return f"{self.collection}/{self.name(number)}"


# Seconds before each change.
_PAUSE = 0.05
RELEASED = {"mesh": {"phase": RELEASING, "releasedAt": "2026-01-01T00:00:00Z"}}
CLAIM = Thing(QUILTSUBNET.path(), peers.peer_claim, lambda n: claim_name(peers.subnet(n)), RELEASED)
NODE = Thing(flannel.NODES, flannel.peer_node, peers.node)


@dataclass(frozen=True, slots=True)
class Publisher:
    """A service account's connection to the API server."""

    connection: http.client.HTTPSConnection
    token: str

    def timed(self, method: str, path: str, body: Any, received: Callable[[], float]) -> float:
        """Send a request and wait for what it brings about; return the milliseconds between."""
        payload = json.dumps(body).encode() if body else b""
        fields = {
            "Host": self.connection.host,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
            "Content-Length": len(payload),
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        request = "\r\n".join(lines).encode() + payload
        start = time.perf_counter()
        self.connection.sock.sendall(request)
        try:
            end = received()
        except TimeoutError as error:
            raise BenchError(f"{method} {path} came to nothing: {self._answer(method)}") from error
        self._answer(method)
        return (end - start) * 1e3

    def _answer(self, method: str) -> str:
        answer = http.client.HTTPResponse(self.connection.sock, method=method)
        answer.begin()
        text = answer.read().decode()
        if answer.status >= 300:
            raise BenchError(text)
        return text


@contextmanager
def publisher(control: ControlPlane, node: Node, account: str) -> Iterator[Publisher]:
    """Somebody to begin at once: the API server ends connections that say nothing for 32 s at first."""
    token = control.token(account)
    with closing(control.session(node, nobody=True)) as connection:
        yield Publisher(connection, token)


def alone(
    control: ControlPlane, node: Node, thing: Thing, account: str, numbers: Iterable[int]
) -> list[float]:
    """Milliseconds that the API server needs to notify a watch of a thing, by itself."""
    taken = []
    with publisher(control, node, account) as sender, closing(control.session(node)) as watching:
        watching.request("GET", f"{thing.collection}?limit=1")
        version = json.loads(watching.getresponse().read())["metadata"]["resourceVersion"]
        watching.request("GET", f"{thing.collection}?watch=true&resourceVersion={version}")
        stream = watching.getresponse()

        def received(number: int) -> float:
            name = thing.name(number).encode()
            while name not in stream.readline():
                pass
            return time.perf_counter()

        for number in numbers:
            body = thing.body(number)
            time.sleep(_PAUSE)
            taken.append(sender.timed("POST", thing.collection, body, partial(received, number)))
            time.sleep(_PAUSE)
            sender.timed("DELETE", thing.path(number), None, partial(received, number))
    return taken

"""Keeps descriptors for the agent: what the kernel ends with its last descriptor outlives the agent here.

The multicast routing table is such a thing: streams between nodes go on while the agent is away. A request
is a JSON line, `{"do": "keep"|"take"|"drop", "name": "multicast"}`; the descriptor to keep comes with it, the
one that is fetched with the answer, `{"held": true|false}`. That is a duplicate: the descriptor stays kept.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from quilt_log import log
from quilt_runtime.services.sockets import Acceptor, peer_uid

SOCKET = "keep.sock"
NAMES = frozenset({"multicast"})
MAX_REQUEST = 256
TIMEOUT_S = 1.0


class Keeper:
    """Serves one connection after the other in a thread of its own until stopped."""

    def __init__(self, socket_dir: Path) -> None:
        self._acceptor = Acceptor(socket_dir / SOCKET, self._take_request, "keeper")
        self.wrong = self._acceptor.wrong
        self._held: dict[str, int] = {}

    def start(self) -> None:
        """Listen; the socket is at its path when this returns."""
        self._acceptor.start(8)

    def stop(self) -> None:
        """Stop listening and let everything go."""
        self._acceptor.stop()
        for name in list(self._held):
            self._drop(name)

    def _take_request(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection)
        except (OSError, ValueError) as error:
            log.info("keeper_refused", reason=str(error))

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        if uid := peer_uid(connection):
            raise ValueError(f"only root may have descriptors kept, not uid {uid}")
        data, received, _, _ = socket.recv_fds(connection, MAX_REQUEST, 1, socket.MSG_CMSG_CLOEXEC)
        try:
            name, act = _parse(data)
            if act == "drop" or (act == "keep" and received):
                self._drop(name)
            if act == "keep" and received:
                self._held[name] = received.pop()
        finally:
            for descriptor in received:
                os.close(descriptor)
        held = [self._held[name]] if name in self._held else []
        answer = json.dumps({"held": bool(held)}).encode() + b"\n"
        socket.send_fds(connection, [answer], held if act == "take" else [])

    def _drop(self, name: str) -> None:
        if name in self._held:
            os.close(self._held.pop(name))


def _parse(data: bytes) -> tuple[str, str]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("a request is a JSON object")
    name, act = document.get("name"), document.get("do")
    if name not in NAMES or act not in ("keep", "take", "drop"):
        raise ValueError(f"{str(act)[:32]!r} of {str(name)[:32]!r} is not known")
    return str(name), str(act)

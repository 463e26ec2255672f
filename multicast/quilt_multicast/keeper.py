"""Has the runtime keep a descriptor, so that what the kernel ends with it outlives this process."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from quilt_log import log

# Seconds: called inside the event loop, of a thread that has nothing else to do.
_TIMEOUT = 0.25


class Keeper:
    """One named descriptor; `path` is the runtime's socket. Where nobody serves that, nothing is kept."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._lost = False

    def keep(self, descriptor: int) -> None:
        """Have a duplicate kept, in place of the one before."""
        self._call("keep", [descriptor])

    def take(self) -> int | None:
        """Return a duplicate of what is kept, None where nothing is."""
        return self._call("take", [])

    def drop(self) -> None:
        """Let what is kept go."""
        self._call("drop", [])

    def _call(self, act: str, descriptors: list[int]) -> int | None:
        request = json.dumps({"do": act, "name": self._name}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_TIMEOUT)
                sock.connect(str(self._path))
                socket.send_fds(sock, [request], descriptors)
                answer, received, _, _ = socket.recv_fds(sock, 256, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            self._say(str(error))
            return None
        self._say("" if answer else "it refused")
        for surplus in received[1:]:
            os.close(surplus)
        return received[0] if received else None

    def _say(self, reason: str) -> None:
        if reason and not self._lost:
            log.info("descriptor_not_kept", name=self._name, reason=reason)
        self._lost = bool(reason)

"""The CNI socket: one request a connection, a JSON line with up to two descriptors, a JSON line back.

A thread for each request in flight: netlink and SQLite are synchronous and short, and descriptors do not pass
through asyncio. Only root may connect (SO_PEERCRED), as a client may rearrange any pod's network.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from quilt_log import log
from quilt_runtime.announcements import MOST_WAITING
from quilt_runtime.app import Runtime
from quilt_runtime.cni.verbs import Request, execute
from quilt_runtime.core import cni
from quilt_runtime.core.cni import CniError, Document
from quilt_runtime.services.sockets import Acceptor, peer_uid

MAX_REQUEST = 4 << 20  # GC of a full node with long ids is 60 KB
MAX_DESCRIPTORS = 2
WORKERS = 16 + MOST_WAITING
"""Threads, beside those that wait for policies: DEL always finds one of the 16."""
BACKLOG = 512  # containerd may start every pod of a node at once
TIMEOUT_S = 10.0  # for the request to arrive and the answer to leave


class CniServer:
    """Accepts in a thread of its own until stopped."""

    def __init__(self, runtime: Runtime, socket_dir: Path) -> None:
        self._runtime = runtime
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="cni")
        self._path = socket_dir / "cni.sock"
        self._acceptor = Acceptor(self._path, self._hand_on, "cni-accept")
        self.wrong = self._acceptor.wrong

    def start(self) -> None:
        """Listen; the socket is at its path when this returns."""
        self._acceptor.start(BACKLOG)
        log.info("cni_serving", socket=str(self._path))

    def stop(self) -> None:
        """Accept nothing more and finish what is under way."""
        self._acceptor.stop()
        self._pool.shutdown(wait=True)

    def _hand_on(self, connection: socket.socket) -> None:
        self._pool.submit(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        begun = time.perf_counter()
        descriptors: list[int] = []
        with connection:
            connection.settimeout(TIMEOUT_S)
            try:
                if uid := peer_uid(connection):
                    raise CniError(
                        cni.INVALID_ENVIRONMENT, f"only root may ask for pod networking, not uid {uid}"
                    )
                request = _request(_receive(connection, descriptors), tuple(descriptors))
                connection.sendall(self._answer(request, begun))
            except CniError as error:
                with contextlib.suppress(OSError):
                    connection.sendall(_line(error=error.document(cni.VERSIONS[-1])))
            except OSError as error:
                log.info("cni_caller_lost", reason=str(error))
            except Exception:
                log.exception("cni_serve_failed")
            finally:
                for descriptor in descriptors:
                    with contextlib.suppress(OSError):
                        os.close(descriptor)

    def _answer(self, request: Request, begun: float) -> bytes:
        verb = request.verb if request.verb in cni.VERBS else "unknown"
        metrics = self._runtime.metrics
        try:
            result = execute(self._runtime, request)
            self._note(request)
            return _line(result=result)
        except CniError as error:
            log.info("cni_refused", verb=verb, code=error.code, reason=str(error))
            metrics.cni_failures.labels(verb=verb, code=error.code).inc()
            self._note(request, type(error.__cause__ or error).__name__, str(error))
            needs = {"needs": error.needs} if error.needs else {}
            return _line(error=error.document(_version_of(request.config)), **needs)
        except Exception:
            log.exception("cni_failed", verb=verb)
            metrics.cni_failures.labels(verb=verb, code=cni.TRY_AGAIN_LATER).inc()
            text = f"{verb} failed inside the runtime; its log has the reason"
            self._note(request, "Defect", text)
            return _line(error=CniError(cni.TRY_AGAIN_LATER, text).document(cni.VERSIONS[-1]))
        finally:
            metrics.cni.labels(verb=verb).observe(time.perf_counter() - begun)

    def _note(self, request: Request, kind: str = "", reason: str = "") -> None:
        """Note how a pod's ADD ended: without a kind of failure it succeeded."""
        pod = cni.pod_name(request.environment) if request.verb == "ADD" else None
        if pod is None:
            return
        if kind:
            self._runtime.troubles.refused(pod, kind, reason)
        else:
            self._runtime.troubles.connected(pod)


def _receive(connection: socket.socket, descriptors: list[int]) -> Document:
    """Read one line and the descriptors with it, which are the caller's to close whatever happens here."""
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk, received, flags, _ = socket.recv_fds(
            connection, 1 << 16, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        descriptors += received
        if not chunk:
            raise CniError(cni.DECODING_FAILURE, "the request ended before its newline")
        if flags & socket.MSG_CTRUNC or len(descriptors) > MAX_DESCRIPTORS:
            raise CniError(
                cni.INVALID_ENVIRONMENT, f"at most {MAX_DESCRIPTORS} descriptors belong to a request"
            )
        data += chunk
        if len(data) > MAX_REQUEST:
            raise CniError(cni.DECODING_FAILURE, f"the request is longer than {MAX_REQUEST} bytes")
    return cni.decode("the request", bytes(data))


def _request(document: Document, descriptors: tuple[int, ...]) -> Request:
    verb, environment, config = document.get("verb"), document.get("env"), document.get("config")
    if not (isinstance(verb, str) and isinstance(environment, dict) and isinstance(config, str)):
        raise CniError(cni.DECODING_FAILURE, "a request has a verb, an env object and the config as text")
    strings = {str(key): value for key, value in environment.items() if isinstance(value, str)}
    return Request(verb, strings, config, descriptors)


def _line(**document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _version_of(config: str) -> str:
    """The version that an error is to be written in: the caller's where it can be read."""
    with contextlib.suppress(CniError):
        if (version := cni.decode("the configuration", config).get("cniVersion")) in cni.VERSIONS:
            return str(version)
    return cni.VERSIONS[-1]

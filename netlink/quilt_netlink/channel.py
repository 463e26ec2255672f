"""The conversation with the kernel on one raw rtnetlink socket: request, dump, batch.

The socket may come from another network namespace (passed by SCM_RIGHTS): what it addresses is for ever the
namespace it was made in. rtnetlink executes a request inside sendmsg, so when sendmsg returns every
answer is already queued: nothing here waits for anything but the queue, and a batch must be small enough
for its answers to fit.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from quilt_netlink import constants as c
from quilt_netlink.ops import ANSWERS_LOST, NetlinkError
from quilt_netlink.shapes import HEADER, TEXT, Shape

Refusal = tuple[int, str]
"""(errno, the kernel's words)."""
Consumer = Callable[[memoryview, int, int], bool]
"""Reads the messages of one datagram (buffer, its size, our sequence number); true once it met the end."""

_INT = struct.Struct("=i")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_WORDS = Shape({"NLMSGERR_ATTR_MSG": (1, TEXT)})
_QUEUE = 4 << 20
_ANSWER_COST = 2048  # what one error with its text occupies in a socket's queue, generously
_BATCH_BYTES = 128 << 10
_BUFFER = 256 << 10  # a dump's datagrams are up to 32 KiB
_TIMEOUT = struct.pack("@ll", 10, 0)
_MAX_ERRNO = 4095  # the kernel's own limit
TRUNCATED = int(socket.MSG_TRUNC)  # as an enumeration it would cost more than the receiving
_CLONE_NEWNET = 0x40000000
_QUEUES = {c.SO_RCVBUFFORCE: socket.SO_RCVBUF, c.SO_SNDBUFFORCE: socket.SO_SNDBUF}


def open_socket(protocol: int = socket.NETLINK_ROUTE, netns_path: str | None = None) -> socket.socket:
    """Open a socket in the calling thread's network namespace, or in the one at a path.

    A thread of its own enters the namespace and ends there, so that the caller never leaves its own. Raises
    OSError when there is no such namespace or entering it is not allowed.
    """
    if netns_path is None:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    with ThreadPoolExecutor(1, "netns-socket") as thread:
        return thread.submit(_open_inside, netns_path, protocol).result()


def _open_inside(netns_path: str, protocol: int) -> socket.socket:
    descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:  # os.setns is Python 3.12's
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}", netns_path)
    finally:
        os.close(descriptor)
    return open_socket(protocol)


def bind(sock: socket.socket) -> None:
    """Give a socket its port where it has none: before, it is sent no notifications."""
    if sock.getsockname()[0] == 0:
        sock.bind((0, 0))


def set_queue(sock: socket.socket, force: int, size: int) -> int:
    """Ask for a queue, beyond the system's limit where we may (`force`); return the size that was given."""
    plain = _QUEUES[force]
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)
    return sock.getsockopt(socket.SOL_SOCKET, plain)


class Channel:
    """Owns the socket; one conversation at a time, from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.RLock()
        self._seq = 0
        self._buffer = memoryview(bytearray(_BUFFER))
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        for option in (c.NETLINK_EXT_ACK, c.NETLINK_CAP_ACK, c.NETLINK_GET_STRICT_CHK):
            with suppress(OSError):  # kernels before 4.20 filter dumps for us less, and we filter again
                sock.setsockopt(c.SOL_NETLINK, option, 1)
        receive, send = (set_queue(sock, force, _QUEUE) for force in (c.SO_RCVBUFFORCE, c.SO_SNDBUFFORCE))
        self.batch_count = max(16, receive // _ANSWER_COST)
        self.batch_bytes = min(_BATCH_BYTES, send // 2)
        bind(sock)

    @property
    def port(self) -> int:
        """The number that the kernel's notifications of our changes carry."""
        return int(self._sock.getsockname()[0])

    def close(self) -> None:
        """Close the socket and let go of the buffer."""
        self._sock.close()
        self._buffer = memoryview(b"")

    def request(self, message: bytes) -> list[bytes]:
        """Send one request; return the messages of its answer. Raises NetlinkError."""
        with self._lock:
            seq = self.number(1)
            return self._accepted(_stamp(message, seq, c.NLM_F_ACK), seq, seq)

    def dump(self, message: bytes, consume: Consumer) -> None:
        """Send a dump request and hand the answer's datagrams to `consume` until it says it is complete."""
        with self._lock:
            seq = self.number(1)
            self._send(_stamp(message, seq))
            done = False
            try:
                while not done:
                    view = self._receive()
                    done = consume(view, len(view), seq)
            finally:
                if not done:  # the kernel starts no other dump on this socket before this one is read out
                    self._drain()

    def batch(self, messages: Sequence[bytes], first: int) -> dict[int, Refusal]:
        """Send messages that are numbered from `first` on (see `number`).

        Return what was refused, by place among them. Only the last message of each datagram asks for an
        answer: the kernel reports an error in any case. When a datagram cannot be sent or its answers are
        lost, all its messages count as refused with that error.
        """
        refused: dict[int, Refusal] = {}
        with self._lock:
            for part in self._parts(messages):
                data = bytearray().join(messages[part.start : part.stop])
                flags_at = len(data) - len(messages[part.stop - 1]) + 6
                _U16.pack_into(data, flags_at, _U16.unpack_from(data, flags_at)[0] | c.NLM_F_ACK)
                try:
                    for number, answer in self._answers(data, first, first + part.stop - 1):
                        if answer[0]:
                            refused[number - first] = answer
                except NetlinkError as error:
                    for place in part:
                        refused.setdefault(place, (error.errno, error.message))
        return refused

    def transaction(self, messages: Sequence[bytes], first: int, last: int) -> None:
        """Send messages that are done all or not at all; that of number `last` asks for an answer.

        Raises NetlinkError for the first refusal.
        """
        with self._lock:
            self._accepted(b"".join(messages), first, last)

    def _accepted(self, data: bytes | bytearray, first: int, last: int) -> list[bytes]:
        besides: list[bytes] = []
        for _, (error, text) in self._answers(data, first, last, besides):
            if error:
                raise NetlinkError(error, text)
        return besides

    def _parts(self, messages: Sequence[bytes]) -> list[range]:
        """Cut messages into datagrams, by the longest of them: those of a batch are much alike."""
        total = len(messages)
        longest = max(map(len, messages), default=1)
        size = min(self.batch_count, max(1, self.batch_bytes // longest))
        return [range(at, min(at + size, total)) for at in range(0, total, size)]

    def _answers(
        self, data: bytes | bytearray, first: int, last: int, besides: list[bytes] | None = None
    ) -> Iterator[tuple[int, Refusal]]:
        """Send a datagram of messages; yield (number, answer) until that to `last` came.

        What the kernel answers otherwise is added to `besides`.
        """
        self._send(data)
        while True:
            view = self._receive()
            for kind, flags, number, start, end in walk(view, len(view)):
                if not first <= number <= last:
                    continue
                if kind == c.NLMSG_ERROR:
                    yield number, refusal(view, flags, start, end)
                    if number == last:
                        return
                elif besides is not None:
                    besides.append(bytes(view[start:end]))

    def number(self, count: int) -> int:
        """Return the first of so many sequence numbers that nobody else uses."""
        with self._lock:
            if self._seq + count > 0x7FFFFFFF:
                self._seq = 0
            self._seq += count
            return self._seq - count + 1

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._sock.sendto(data, (0, 0))
        except OSError as error:
            raise NetlinkError(error.errno, f"cannot send to the kernel: {error.strerror}") from error

    def _receive(self) -> memoryview:
        try:
            size, _, flags, _ = self._sock.recvmsg_into([self._buffer])
        except BlockingIOError as error:
            raise NetlinkError(errno.ETIMEDOUT, "the kernel did not answer within 10 s") from error
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self._drain()
                raise NetlinkError(*ANSWERS_LOST) from error
            raise NetlinkError(error.errno, f"cannot read from the kernel: {error.strerror}") from error
        if flags & TRUNCATED:
            raise NetlinkError(errno.EMSGSIZE, f"the kernel's answer is longer than {_BUFFER} bytes")
        return self._buffer[:size]

    def _drain(self) -> None:
        """Empty the queue after an overrun: left full, it would have no room for the next answers either."""
        for _ in range(100_000):
            try:
                self._sock.recvmsg_into([self._buffer], 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return


def walk(view: memoryview, size: int) -> list[tuple[int, int, int, int, int]]:
    """Return (type, flags, sequence number, start, end) of each message of a datagram."""
    at = 0
    found = []
    while at + 16 <= size:
        length, kind, flags, seq, _ = HEADER.unpack_from(view, at)
        if length < 16 or at + length > size:
            break
        found.append((kind, flags, seq, at, at + length))
        at += (length + 3) & ~3
    return found


def refusal(view: memoryview, flags: int, start: int, end: int) -> Refusal:
    """Return the errno (0: none) and text of an NLMSG_ERROR or NLMSG_DONE message."""
    if end - start < 20:
        return 0, ""
    error = min(max(0, -_INT.unpack_from(view, start + 16)[0]), _MAX_ERRNO)
    if not error or not flags & c.NLM_F_ACK_TLVS:
        return error, ""
    at = start + 20
    if HEADER.unpack_from(view, start)[1] == c.NLMSG_ERROR:
        if at + 16 > end:  # it does not say what it answers
            return error, ""
        at += 16 if flags & c.NLM_F_CAPPED else (_U32.unpack_from(view, at)[0] + 3) & ~3
    return error, _WORDS.read(view, min(at, end), end).get("NLMSGERR_ATTR_MSG", "")


def _stamp(message: bytes, seq: int, flags: int = 0) -> bytearray:
    data = bytearray(message)
    _U32.pack_into(data, 8, seq)
    _U16.pack_into(data, 6, _U16.unpack_from(data, 6)[0] | flags)
    return data

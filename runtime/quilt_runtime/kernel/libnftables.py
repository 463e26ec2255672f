"""Transactions of nftables within this process: to start the program nft for each costs ten times as much.

From libnftables(3), on which the program nft rests too.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from ctypes import CDLL, c_char_p, c_int, c_uint32, c_void_p
from functools import cache
from pathlib import Path

from quilt_netlink.constants import NETLINK_NETFILTER

LIBRARY = "libnftables.so.1"
_DEFAULT = 0  # NFT_CTX_DEFAULT
_one_at_a_time = threading.Lock()


@cache
def _library() -> CDLL:
    """Load the library; raises OSError where it is missing."""
    library = CDLL(LIBRARY)
    library.nft_ctx_new.restype = c_void_p
    library.nft_ctx_new.argtypes = (c_uint32,)
    library.nft_ctx_free.argtypes = (c_void_p,)
    library.nft_ctx_buffer_output.argtypes = (c_void_p,)
    library.nft_ctx_buffer_error.argtypes = (c_void_p,)
    library.nft_run_cmd_from_buffer.restype = c_int
    library.nft_run_cmd_from_buffer.argtypes = (c_void_p, c_char_p)
    return library


def commit(transaction: str, remember: Callable[[int], None]) -> bool:
    """Commit a transaction in the calling thread's network namespace; false where it is refused.

    `remember` gets, before that, the port by which the kernel names who made the change. Each has a
    context of its own, which knows nothing old of the tables. Raises OSError where the library is missing.
    """
    library = _library()
    with _one_at_a_time:
        context = library.nft_ctx_new(_DEFAULT)
        try:
            library.nft_ctx_buffer_output(context)
            library.nft_ctx_buffer_error(context)
            for port in _bind():
                remember(port)
            done: int = library.nft_run_cmd_from_buffer(context, transaction.encode())
            return done == 0
        finally:
            library.nft_ctx_free(context)


def _bind() -> Iterator[int]:
    """Give each socket to nftables that has none yet its port: the library would with its first message."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            descriptor = os.dup(int(entry.name))
        except OSError:  # closed meanwhile
            continue
        try:
            found = socket.socket(fileno=descriptor)
        except OSError:  # not a socket
            os.close(descriptor)
            continue
        with closing(found):
            if found.family == socket.AF_NETLINK and found.proto == NETLINK_NETFILTER:
                port: int = found.getsockname()[0]
                if not port:
                    found.bind((0, 0))
                    yield found.getsockname()[0]

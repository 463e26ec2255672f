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
SELECTABLE = 1024
"""FD_SETSIZE: the library waits by select(2), which ends the process for a descriptor beyond it."""
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
    """Commit a transaction in the calling thread's network namespace; false where it is not done.

    That is one which is refused, and any in a process of so many descriptors that the library cannot wait.
    `remember` gets, before that, the port by which the kernel names who made the change. Each has a context
    of its own, which knows nothing old of the tables. Raises OSError where the library is missing.
    """
    library = _library()
    with _one_at_a_time:
        context = library.nft_ctx_new(_DEFAULT)
        try:
            library.nft_ctx_buffer_output(context)
            library.nft_ctx_buffer_error(context)
            for descriptor, port in _bind():
                if descriptor >= SELECTABLE:
                    return False
                remember(port)
            done: int = library.nft_run_cmd_from_buffer(context, transaction.encode())
            return done == 0
        finally:
            library.nft_ctx_free(context)


def _bind() -> Iterator[tuple[int, int]]:
    """Give each socket to nftables that has none yet its port: the library would with its first message.

    Yields descriptor and port of each.
    """
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        try:
            own = os.dup(descriptor)
        except OSError:  # closed meanwhile
            continue
        try:
            found = socket.socket(fileno=own)
        except OSError:  # not a socket
            os.close(own)
            continue
        with closing(found):
            if found.family == socket.AF_NETLINK and found.proto == NETLINK_NETFILTER:
                port: int = found.getsockname()[0]
                if not port:
                    found.bind((0, 0))
                    yield descriptor, found.getsockname()[0]

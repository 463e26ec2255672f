"""Acting inside a network namespace, from a process that stays outside."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def inside(name: str, act: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that ends with it."""
    done: list[Any] = []

    def run() -> None:
        descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
                raise OSError(ctypes.get_errno(), "cannot enter the namespace")
            done.append(act())
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    result: T = done[0]
    return result

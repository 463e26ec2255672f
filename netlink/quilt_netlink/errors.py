"""What can go wrong between us and the kernel, in a form that says which operation and why."""

from __future__ import annotations

import errno as errno_names
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quilt_netlink.ops import Op


class NetlinkError(OSError):
    """The kernel refused a request; `errno` is positive, `message` its own words where it gave any."""

    def __init__(self, errno: int, message: str = "", op: Op | None = None) -> None:
        text = message or os.strerror(errno)
        what = f"{op}: " if op is not None else ""
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(errno, f"{what}{text} ({name})")
        self.message = text
        self.op = op


class DumpInterruptedError(NetlinkError):
    """The table changed under the dump each time it was tried; nothing read from it can be trusted."""

    def __init__(self, what: str, attempts: int) -> None:
        super().__init__(
            errno_names.EINTR, f"the dump of {what} was interrupted {attempts} times; try again later"
        )


class ReplyLostError(NetlinkError):
    """The kernel's answers did not fit the socket's buffer: the outcome is unknown, read the state again."""

    def __init__(self) -> None:
        super().__init__(
            errno_names.ENOBUFS, "answers were lost, the outcome is unknown; read the state again"
        )

"""The things one can ask of the kernel for any entry, and what it says when it refuses."""

from __future__ import annotations

import errno as errno_names
import os
import struct
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from quilt_netlink import constants as c
from quilt_netlink.state import Entry


class Create(Struct, frozen=True, gc=False):
    """Make the entry; refused (EEXIST) when the kernel has one under its key."""

    entry: Entry


class Put(Struct, frozen=True, gc=False):
    """Make the entry, or replace the one under its key."""

    entry: Entry


class Append(Struct, frozen=True, gc=False):
    """Make the entry beside those under its key: one more destination of an FDB entry's MAC."""

    entry: Entry


class Delete(Struct, frozen=True, gc=False):
    """Remove the entry; refused (ENOENT, ESRCH, EADDRNOTAVAIL or ENODEV, by kind) when it is not there.

    A route is deleted only with its own protocol, an FDB entry only with its own destination (or with none
    given): the kernel leaves another's in place, for the FDB without an error.
    """

    entry: Entry


Op = Create | Put | Append | Delete

_NEW = c.NLM_F_REQUEST | c.NLM_F_CREATE
FLAGS: dict[type[Op], int] = {
    Create: _NEW | c.NLM_F_EXCL,
    Put: _NEW | c.NLM_F_REPLACE,
    Append: _NEW | c.NLM_F_APPEND,
    Delete: c.NLM_F_REQUEST,
}


class NetlinkError(OSError):
    """The kernel refused a request; `errno` is positive, `message` its own words where it gave any."""

    def __init__(self, errno: int | None, message: str = "", op: Op | None = None) -> None:
        errno = errno or errno_names.EIO  # an OSError need not have one
        text = message or os.strerror(errno)
        what = f"{op}: " if op is not None else ""
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(errno, f"{what}{text} ({name})")
        self.errno: int = errno
        self.message = text
        self.op = op


class DumpInterruptedError(NetlinkError):
    """The table changed under the dump each time it was tried; nothing read from it can be trusted."""

    def __init__(self, what: str, attempts: int) -> None:
        text = f"the dump of {what} was interrupted {attempts} times; try again later"
        super().__init__(errno_names.EINTR, text)


ANSWERS_LOST = (errno_names.ENOBUFS, "answers were lost, the outcome is unknown; read the state again")
"""Why an operation counts as refused whose answer did not fit the socket's buffer."""


class Failure(Struct, frozen=True):
    """One operation of a batch that was refused: `index` is its place in the batch, `errno` is positive."""

    index: int
    op: Op
    errno: int
    message: str

    @property
    def absent(self) -> bool:
        """Whether the kernel only answered that the entry, or the device it was on, is not there."""
        return is_absent(self.errno)


def invalid(index: int, op: Op, error: Exception) -> Failure:
    """Say that an operation cannot even be encoded."""
    return Failure(index, op, errno_names.EINVAL, f"not a valid {type(op.entry).__name__}: {error}")


def attempt(index: int, op: Op, do: Callable[[Op], None]) -> Iterator[Failure]:
    """Do an operation; yield why it was refused, or cannot even be encoded."""
    try:
        do(op)
    except NetlinkError as error:
        yield Failure(index, op, error.errno, error.message)
    except (OSError, ValueError, struct.error) as error:
        yield invalid(index, op, error)


def require(failures: Iterable[Failure], *, absent: bool = False) -> None:
    """Raise NetlinkError for the first failure; with `absent` not for those that only found nothing."""
    for failure in failures:
        if not (absent and failure.absent):
            raise NetlinkError(failure.errno, failure.message, failure.op)


ABSENT = frozenset(
    {errno_names.ENOENT, errno_names.ESRCH, errno_names.EADDRNOTAVAIL, errno_names.ENODEV, errno_names.ENXIO}
)


def is_absent(errno: int) -> bool:
    """Whether a delete that failed with `errno` found nothing to delete."""
    return errno in ABSENT

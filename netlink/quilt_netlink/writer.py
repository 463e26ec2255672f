"""Operations to messages and refusals back to operations.

Entries go in batches, links one by one, in their place among the others. An entry that cannot even be encoded
(no such address) is refused like one that the kernel refuses.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from quilt_netlink import links
from quilt_netlink.channel import Channel, Refusal
from quilt_netlink.errors import NetlinkError
from quilt_netlink.ops import Create, Delete, Failure, Op
from quilt_netlink.state import Link
from quilt_netlink.writes import ENCODERS

GetLink = Callable[[str | int], Link | None]


class Writer:
    """Applies operations over one channel."""

    def __init__(self, channel: Channel, get_link: GetLink) -> None:
        self._channel = channel
        self._get_link = get_link

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order; return those refused, by their place."""
        failures: list[Failure] = []
        for many, places in groupby(range(len(ops)), lambda place: type(ops[place].entry) in ENCODERS):
            if many:
                failures += self._batch(ops, places)
            else:
                failures += filter(None, [self._single(ops[place], place) for place in places])
        return failures

    def _batch(self, ops: Sequence[Op], places: Iterable[int]) -> list[Failure]:
        """Write operations in one batch."""
        first = self._channel.number(len(ops))
        messages, sent, found = encode(ops, places, first)
        refused = self._channel.batch(messages, first)
        found += [_failure(sent[number], ops[sent[number]], refusal) for number, refusal in refused.items()]
        return sorted(found, key=lambda failure: failure.index)

    def _single(self, op: Op, place: int) -> Failure | None:
        try:
            if not isinstance(op.entry, Link):
                raise NetlinkError(errno.EOPNOTSUPP, f"cannot write a {type(op.entry).__name__}")
            self._link(op, op.entry)
        except NetlinkError as error:
            return _failure(place, op, (error.errno or errno.EIO, error.message))
        except (OSError, ValueError, struct.error) as error:
            return _invalid(place, op, error)
        return None

    def _link(self, op: Op, link: Link) -> None:
        now = self._get_link(link.index or link.name)
        if isinstance(op, Delete):
            if now is None:
                raise NetlinkError(errno.ENODEV, f"there is no interface {link.name or link.index}")
            self._channel.request(links.delete(now.index))
        elif now is None and link.index:
            raise NetlinkError(errno.ENODEV, f"there is no interface with index {link.index}")
        elif now is None or isinstance(op, Create):
            self._create(link)
        elif link.kind and link.kind != now.kind:
            text = f"{now.name} is a {now.kind or 'physical'} interface, not a {link.kind}: delete it first"
            raise NetlinkError(errno.EEXIST, text)
        else:
            self._change(link, now)

    def _create(self, link: Link) -> None:
        self._channel.request(links.create(link))
        if not links.needs_finish(link) or link.netns_fd is not None:
            return
        made = self._get_link(link.name)
        if made is None:
            raise NetlinkError(errno.ENODEV, f"{link.name} went away while it was being set up")
        try:
            self._change(link, made)
        except NetlinkError:
            self._channel.request(links.delete(made.index))
            raise

    def _change(self, link: Link, now: Link) -> None:
        for message in links.change(now.index, link, now):
            self._channel.request(message)


def encode(
    ops: Sequence[Op], places: Iterable[int], first: int
) -> tuple[list[bytes], list[int], list[Failure]]:
    """Encode the operations in these places, numbered from `first` on without a gap.

    Return the messages, the places of their operations, and the operations that cannot be encoded.
    """
    messages: list[bytes] = []
    sent: list[int] = []
    invalid: list[Failure] = []
    for place in places:
        op = ops[place]
        entry = op.entry
        try:
            messages.append(ENCODERS[type(entry)](type(op), entry, first + len(sent)))
            sent.append(place)
        except (OSError, ValueError, struct.error) as error:
            invalid.append(_invalid(place, op, error))
    return messages, sent, invalid


def _failure(place: int, op: Op, refusal: Refusal) -> Failure:
    number, text = refusal
    return Failure(place, op, number, text or os.strerror(number))


def _invalid(place: int, op: Op, error: Exception) -> Failure:
    return Failure(place, op, errno.EINVAL, f"not a valid {type(op.entry).__name__}: {error}")

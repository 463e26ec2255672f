"""Our way to nftables: every change is one transaction, reads are the program nft's own canonical text.

The kernel's notification of a change names who made it, by the port of its socket: the program's is its
process id. So our own changes can be distinguished from others' (`made_here`).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel import libnftables

TIMEOUT = 10.0  # seconds; a transaction of 5,000 elements needs 30 ms
SLOWEST = 100_000
"""Characters a second, on a busy machine: 10,000 policies that hold for one pod are more than a million."""
SHORT = 65_536
"""Characters of a transaction that is not left to the program, whose memory ends with it."""
RECENT_S = 5.0  # how long a port counts as our own: others get it again some day
_recent: dict[int, float] = {}


class NftError(RequestError):
    """nft refused a transaction; nothing of it was done."""

    retryable = True


def apply(*transactions: str, table: str = TABLE) -> None:
    """Commit transactions in order, up to one that is refused; raises NftError with nft's own words."""
    for transaction in transactions:
        done = _run(["-f", "-"], transaction)
        if done.returncode != 0:
            raise NftError(f"nft refused the table {table}: {done.stderr.strip()[:500]}")


def apply_at_once(transaction: str, table: str) -> None:
    """Commit one of many short transactions without starting the program; raises NftError.

    What the library does not do the program is asked for: it shows the line that is refused.
    """
    try:
        done = len(transaction) <= SHORT and libnftables.commit(transaction, remember)
    except OSError as error:
        raise NftError(f"libnftables cannot be used: {error}") from error
    if not done:
        apply(transaction, table=table)


def accepts(transaction: str) -> bool:
    """Whether a transaction can be committed, which is not done."""
    return _run(["--check", "-f", "-"], transaction).returncode == 0


def made_here(port: int) -> bool:
    """Whether a change that the kernel tells of was made here, a moment ago."""
    since = _recent.get(port)
    return since is not None and time.monotonic() - since < RECENT_S


def listing(family: str = "inet", *options: str, table: str = TABLE) -> str:
    """Return one of our tables without counters, empty where it does not exist."""
    done = _run(["--stateless", *options, "list", "table", family, table], "")
    return done.stdout if done.returncode == 0 else ""


def entries(what: str, *where: str, options: Sequence[str] = ()) -> list[Any]:
    """Return what `nft -j list WHAT WHERE…` has under "nftables", empty where there is no such thing."""
    done = _run(["-j", *options, "list", what, *where], "")
    found: list[Any] = json.loads(done.stdout)["nftables"] if done.returncode == 0 and done.stdout else []
    return found


def remember(port: int) -> None:
    """Count changes made through a port as our own, for a moment."""
    now = time.monotonic()
    for old in [old for old, since in list(_recent.items()) if now - since >= RECENT_S]:
        _recent.pop(old, None)
    _recent[port] = now


def _run(arguments: list[str], text: str) -> subprocess.CompletedProcess[str]:
    pipe, command = subprocess.PIPE, ["nft", *arguments]
    timeout = TIMEOUT + len(text) / SLOWEST
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
            remember(program.pid)
            try:
                out, errors = program.communicate(text, timeout=timeout)
            except subprocess.TimeoutExpired as error:
                program.kill()
                raise NftError(f"nft did not finish within {timeout:.0f} s") from error
    except FileNotFoundError as error:
        raise NftError("the program nft is missing: install nftables on this node or in the image") from error
    return subprocess.CompletedProcess(command, program.returncode, out, errors)

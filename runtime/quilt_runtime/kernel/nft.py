"""Our way to nftables: every change is one transaction, reads are the program nft's own canonical text.

The kernel's notification of a change names who made it, by the port of its socket: nft's is its process id.
So our own changes can be told from others' (`made_here`).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from quilt_netlink.nftsets import MOST, NftSets, SetChange
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.firewall import TABLE

TIMEOUT = 10.0  # seconds; a transaction of 5,000 elements takes 30 ms
RECENT_S = 5.0  # how long a port is taken for ours: others get it again some day
_recent: deque[tuple[int, float]] = deque(maxlen=16)


class NftError(RequestError):
    """nft refused a transaction; nothing of it was done."""

    retryable = True


def apply(transaction: str) -> None:
    """Commit a transaction; raises NftError with nft's own words."""
    done = _run(["-f", "-"], transaction)
    if done.returncode != 0:
        raise NftError(f"nft refused the table {TABLE}: {done.stderr.strip()[:500]}")


class Sets:
    """The sets of our table, over one socket. Not for several threads."""

    def __init__(self) -> None:
        self._open: NftSets | None = None

    def change(self, changes: Sequence[SetChange]) -> None:
        """Commit changes; raises NftError where that cannot be, or is too much for one transaction."""
        if sum(len(change.addresses) for change in changes) > MOST:
            raise NftError(f"more than {MOST} addresses in one change")
        try:
            sets = self._open = self._open or NftSets.open(TABLE)
            _recent.append((sets.port, time.monotonic()))
            sets.change(changes)
        except OSError as error:
            self.close()
            raise NftError(f"nftables refused to change sets of the table {TABLE}: {error}") from error

    def close(self) -> None:
        """Close the socket; the next change opens another one."""
        if self._open is not None:
            self._open.close()
            self._open = None


def made_here(port: int) -> bool:
    """Whether a change that the kernel tells of was made by `apply` or `Sets`, a moment ago."""
    now = time.monotonic()
    return any(port == own and now - since < RECENT_S for own, since in _recent.copy())


def listing() -> str:
    """Return our table without counters, empty where it does not exist."""
    done = _run(["--stateless", "list", "table", "inet", TABLE], "")
    return done.stdout if done.returncode == 0 else ""


def entries(what: str, *where: str) -> list[Any]:
    """Return what `nft -j list WHAT WHERE…` has under "nftables", empty where there is no such thing."""
    done = _run(["-j", "list", what, *where], "")
    found: list[Any] = json.loads(done.stdout)["nftables"] if done.returncode == 0 and done.stdout else []
    return found


def _run(arguments: list[str], text: str) -> subprocess.CompletedProcess[str]:
    pipe, command = subprocess.PIPE, ["nft", *arguments]
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
            _recent.append((program.pid, time.monotonic()))
            try:
                out, told = program.communicate(text, timeout=TIMEOUT)
            except subprocess.TimeoutExpired as error:
                program.kill()
                raise NftError(f"nft did not finish within {TIMEOUT:.0f} s") from error
    except FileNotFoundError as error:
        raise NftError("the program nft is missing: install nftables on this node or in the image") from error
    return subprocess.CompletedProcess(command, program.returncode, out, told)

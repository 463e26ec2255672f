"""Runs the `nft` program: every change is one transaction, reads are its own canonical text."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.firewall import TABLE

TIMEOUT = 10.0  # seconds; a transaction of 5,000 elements takes 30 ms


class NftError(RequestError):
    """nft refused a transaction; nothing of it was done."""

    retryable = True


def apply(transaction: str) -> None:
    """Commit a transaction; raises NftError with nft's own words."""
    done = _run(["-f", "-"], transaction)
    if done.returncode != 0:
        raise NftError(f"nft refused the table {TABLE}: {done.stderr.strip()[:500]}")


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
    try:
        return subprocess.run(
            ["nft", *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        raise NftError("the program nft is missing: install nftables on this node or in the image") from error
    except subprocess.TimeoutExpired as error:
        raise NftError(f"nft did not finish within {TIMEOUT:.0f} s") from error

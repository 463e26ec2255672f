"""What the packet filter holds: all tables and rules with counters, elements of the mesh's small sets."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from quilt_cli.core.nft_listing import entries, of_kind
from quilt_cli.kernel.host import nft

# Those of policies may have 100,000 elements, and of others' sets nobody knows.
_WHOLE = (("bridge", "quilt"), ("inet", "quilt"))
_SAVE = {"ip": "iptables-nft-save", "ip6": "ip6tables-nft-save"}


def ruleset() -> list[dict[str, Any]]:
    """What `nft -j list ruleset` lists, sets without elements but those of the mesh's own. Raises OSError."""
    listed = _listed("--terse", "list", "ruleset")
    tables = {(table["family"], table["name"]) for table in of_kind(listed, "table")}
    whole = [table for table in _WHOLE if table in tables]
    others = [entry for entry in listed if _table(entry) not in whole]
    return [*others, *(entry for table in whole for entry in _listed("list", "table", *table))]


def _table(entry: dict[str, Any]) -> tuple[str, str]:
    kind, found = next(iter(entry.items()))
    return found.get("family", ""), found.get("name" if kind == "table" else "table", "")


def _listed(*arguments: str) -> list[dict[str, Any]]:
    done = nft("-j", *arguments)
    if done is None:
        raise FileNotFoundError("there is no nft here")
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    return entries(done.stdout)


def iptables() -> dict[str, str]:
    """The rules of iptables-nft in its own words, by family: in nft's its matches have no content.

    A program that is not there, or that fails, has no entry.
    """
    found = {}
    for family, program in _SAVE.items():
        if shutil.which(program):
            done = subprocess.run([program, "-c"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found[family] = done.stdout
    return found

"""Lets pods' packets pass where other software refuses what is forwarded (core.forward says how and why)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_runtime.core import forward
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel import nft

LEGACY = Path("/proc/net/ip_tables_names")
_warned: set[str] = set()


def ensure() -> list[str]:
    """Insert what is missing; returns "forward_accept" where something was. Raises NftError."""
    done = []
    _tell_of_legacy()
    for family in forward.FAMILIES:
        if text := forward.correction(family, nft.entries("table", family, forward.TABLE)):
            nft.apply(text)
            log.info(
                "forward_accept_inserted", family=family, reason="its FORWARD chain refuses what is left"
            )
            done.append("forward_accept")
    return done


def refusals(devices: Collection[str]) -> list[str]:
    """Return what others' rules refuse of these devices' packets, as sentences. Raises NftError."""
    # Without elements of sets: a chain of kube-proxy is in a table of thousands.
    terse = ["--terse"]
    chains = [
        chain
        for chain in forward.of_kind("chain", nft.entries("chains", options=terse))
        if (chain.get("hook"), chain.get("type")) == ("forward", "filter")
        and not str(chain.get("table")).startswith(TABLE)
    ]
    listed = [
        nft.entries("chain", chain["family"], chain["table"], chain["name"], options=terse)
        for chain in chains
    ]
    return forward.refusals([entry for entries in listed for entry in entries], devices)


def remove() -> int:
    """Take our rules away again; returns from how many chains. Raises NftError."""
    listed = {
        family: nft.entries("chain", family, forward.TABLE, forward.CHAIN) for family in forward.FAMILIES
    }
    texts = [forward.removal(family, forward.of_kind("rule", rules)) for family, rules in listed.items()]
    nft.apply(*filter(None, texts))
    return sum(map(bool, texts))


def _tell_of_legacy() -> None:
    """iptables-legacy keeps its rules where nft does not see them: all we can do is to say so, once."""
    try:
        found = "filter" in LEGACY.read_text().split()
    except OSError:
        return
    if found and "legacy" not in _warned:
        _warned.add("legacy")
        log.warning(
            "legacy_iptables_in_use",
            action="if pods are cut off: "
            f"iptables-legacy -A FORWARD -i {BRIDGE_DEVICE} -j ACCEPT, the same with -o",
        )

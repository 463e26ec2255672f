"""Transactions of nftables within the process: done or refused as the program would, and known as our own."""

from __future__ import annotations

import json
import sys

import pytest

from quilt_netlink import Change, Monitor, NftTable
from quilt_netlink.nftsets import INET
from quilt_runtime.kernel import nft
from quilt_runtime.kernel.nft import NftError, apply_at_once
from tests.support.namespaces import Namespace

COMMIT = """
import json, os, sys
from contextlib import closing
from quilt_netlink.nftsets import NftSets
from quilt_runtime.kernel import libnftables
ports, held = [], [os.open("/dev/null", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
with closing(NftSets("mine")):  # the first socket of a process has its id as port, this one's
    done = libnftables.commit(sys.stdin.read(), ports.append)
print(json.dumps([done, ports]))
"""


def commit(netns: Namespace, transaction: str, opened: int = 0) -> tuple[bool, list[int]]:
    """Whether it was done, and the ports that were to be remembered, in a process with more descriptors."""
    done, ports = json.loads(netns.run(sys.executable, "-c", COMMIT, str(opened), stdin=transaction))
    return done, ports


async def test_it_is_done_and_the_kernel_names_the_port_that_was_remembered(netns: Namespace) -> None:
    ports: list[int] = []

    def notified(port: int) -> bool:
        ports.append(port)
        return False

    async with Monitor(("nftables",), netns.path, ignore_port=notified) as monitor:
        done, remembered = commit(netns, "table inet mine {\n chain c { counter accept; }\n}\n")
        assert await monitor.take_all() == [Change(True, NftTable(INET, "mine"))]
    assert done
    assert len(remembered) == 1
    assert set(ports) == set(remembered)
    assert "chain c" in netns.run("nft", "list", "table", "inet", "mine")


def test_a_refused_one_is_undone_whole(netns: Namespace) -> None:
    done, _ = commit(netns, "table inet mine {\n chain c { accept; }\n}\nadd rule inet mine absent accept\n")
    assert not done
    assert netns.run("nft", "list", "tables") == ""


def test_with_a_thousand_descriptors_it_is_left_to_the_program(netns: Namespace) -> None:
    """select(2) would end the process."""
    done, _ = commit(netns, "add table inet mine\n", opened=1100)
    assert not done
    assert netns.run("nft", "list", "tables") == ""


def test_a_refusal_shows_the_line(netns: Namespace) -> None:
    ask = "import sys; from quilt_runtime.kernel import nft; nft.apply_at_once(sys.stdin.read(), 'mine')"
    with pytest.raises(
        AssertionError, match=r"(?s)nft refused the table mine: .*rule inet mine absent accept"
    ):
        netns.run(sys.executable, "-c", ask, stdin="add table inet mine\nadd rule inet mine absent accept\n")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OSError("libnftables.so.1: cannot open shared object file")

    monkeypatch.setattr(nft.libnftables, "commit", missing)
    with pytest.raises(NftError, match=r"libnftables\.so\.1: cannot open"):
        apply_at_once("table inet mine { }", "mine")


def test_a_long_transaction_is_left_to_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(nft, "apply", lambda transaction, table: seen.append(table))
    apply_at_once("#" * (nft.SHORT + 1), "mine")
    assert seen == ["mine"]

"""RPF by an external provider: asked once, cached, failing closed; and whose socket is trusted."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from ipaddress import ip_network
from pathlib import Path

import pytest

from quilt_pim.core.rpf import RpfInfo
from quilt_pim.core.validate import ControlError
from quilt_pim.counters import Counters
from quilt_pim.rpf_provider import LookupFailedError, RpfProvider, check_socket
from tests.support.control_doubles import TIMEOUT, Provider, eventually, serving

ETH0 = RpfInfo("eth0", "10.0.0.1", 10)
WIRE = {"upstream_interface": "eth0", "upstream_neighbor": "10.0.0.1", "metric": 10}


async def test_an_external_provider_is_asked_once_and_then_from_the_cache(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = WIRE
    async with provider.serve(), serving(tmp_path) as running:
        client = await running.client()
        await client.ok("SetRpfProvider", provider=str(provider.path))
        first = await client.ok("QueryRpf", source="10.1.0.5")
        assert (first["rpf"], first["cached"]) == (WIRE, False)
        again = await client.ok("QueryRpf", source="10.1.0.5")
        assert (again["rpf"], again["cached"]) == (WIRE, True)
        assert provider.asked == [{"query": "rpf", "source": "10.1.0.5"}]
        reply = await client.ok("QueryRpf", source="10.9.0.1")
        assert (reply["rpf"], reply["reason"]) == (
            None,
            "the RPF provider has no route to 10.9.0.1: 'no-route'",
        )
        assert (await client.ok("QueryRpf", source="10.9.0.1"))["cached"] is True
        state = await client.ok("GetRpfProvider")
        assert (state["cache_hits"], state["cache_misses"], state["cached_entries"]) == (2, 2, 2)
        # Choosing a provider forgets what the last one answered.
        await client.ok("SetRpfProvider", provider=str(provider.path))
        assert (await client.ok("QueryRpf", source="10.1.0.5"))["cached"] is False


async def test_cached_answers_expire(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = WIRE
    async with provider.serve():
        rpf = RpfProvider(str(provider.path), 0.05, Counters(), TIMEOUT)
        assert (await rpf.lookup("10.1.0.5")).info == ETH0
        provider.answers["10.1.0.5"] = {"upstream_interface": "eth1"}
        async with asyncio.timeout(5):
            while (found := await rpf.lookup("10.1.0.5")).cached:  # noqa: ASYNC110  time has no event
                await asyncio.sleep(0.01)
        assert found.info == RpfInfo("eth1")


async def test_an_answer_of_a_provider_that_is_chosen_no_longer_does_not_count(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = WIRE
    provider.hold.clear()
    async with provider.serve():
        rpf = RpfProvider(str(provider.path), 30, Counters(), TIMEOUT)
        asked = asyncio.create_task(rpf.lookup("10.1.0.5"))
        await eventually(lambda: provider.asked)
        rpf.static.add(ip_network("10.1.0.0/16"), RpfInfo("eth7"))
        rpf.choose("static")
        provider.hold.set()
        assert (await asked).info == RpfInfo("eth7")


async def test_many_who_wait_for_one_source_ask_once(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = WIRE
    async with provider.serve():
        rpf = RpfProvider(str(provider.path), 30, Counters(), TIMEOUT)
        found = await asyncio.gather(*(rpf.lookup("10.1.0.5") for _ in range(20)))
        assert {item.info for item in found} == {ETH0}
        assert len(provider.asked) == 1


async def test_time_outs_fail_closed_and_are_counted(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.silent = True
    async with provider.serve():
        counters = Counters()
        rpf = RpfProvider(str(provider.path), 30, counters, timeout=0.05)
        with pytest.raises(LookupFailedError, match=r"did not answer within 0\.05 s"):
            await rpf.lookup("10.1.0.5")
        verdict = await rpf.arrives("10.1.0.5", "eth0")
        assert not verdict.passed
        assert not (await rpf.joins("10.1.0.5", "eth1")).passed
        assert counters["rpf_timeouts"] == 3
        # Nothing of this is kept: it is asked again.
        provider.silent = False
        provider.answers["10.1.0.5"] = WIRE
        async with asyncio.timeout(10):
            while not (await rpf.arrives("10.1.0.5", "eth0")).passed:
                pass


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\n",
        b"",
        b"{}\n",
        b'{"upstream_interface":5}\n',
        b"x" * 10000,
        b'{"upstream_interface":"a/b"}',
    ],
)
async def test_invalid_answers_fail_closed_and_are_counted(tmp_path: Path, answer: bytes) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = answer
    async with provider.serve(), serving(tmp_path, rpf_provider=str(provider.path)) as running:
        client = await running.client()
        assert "gave an invalid answer" in await client.refused("QueryRpf", source="10.1.0.5")
        assert not (await running.plane.rpf.arrives("10.1.0.5", "eth0")).passed
        state = await client.ok("GetRpfProvider")
        assert (state["invalid_answers"], state["cached_entries"]) == (2, 0)


async def test_an_answer_may_end_with_the_stream_instead_of_a_newline(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    provider.answers["10.1.0.5"] = json.dumps(WIRE).encode()
    async with provider.serve():
        rpf = RpfProvider(str(provider.path), 30, Counters(), TIMEOUT)
        assert (await rpf.lookup("10.1.0.5")).info == ETH0


async def test_a_provider_that_is_gone_fails_closed(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.sock")
    async with provider.serve(), serving(tmp_path) as running:
        client = await running.client()
        await client.ok("SetRpfProvider", provider=str(provider.path))
        provider.path.unlink()
        assert "cannot be asked" in await client.refused("QueryRpf", source="10.1.0.5")
        assert not (await running.plane.rpf.arrives("10.1.0.5", "eth0")).passed
        assert (await client.ok("GetRpfProvider"))["unreachable"] == 2
        provider.path.touch()


class TestOwnership:
    def bound(self, path: Path, mode: int = 0o660) -> Path:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        path.chmod(mode)
        return path

    def test_a_socket_of_the_same_user_is_good(self, tmp_path: Path) -> None:
        check_socket(str(self.bound(tmp_path / "a.sock")))

    def test_a_file_is_no_socket_nor_is_a_link_to_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to(self.bound(tmp_path / "a.sock"))
        for name in ("file", "link"):
            with pytest.raises(ControlError, match="is not a Unix socket"):
                check_socket(str(tmp_path / name))

    def test_writable_by_everybody_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ControlError, match="not be writable by everybody"):
            check_socket(str(self.bound(tmp_path / "a.sock", 0o666)))

    def test_in_a_folder_that_everybody_may_write_it_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "open"
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(ControlError, match="others can replace it"):
            check_socket(str(self.bound(folder / "a.sock")))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_somebody_elses_is_refused(self, tmp_path: Path) -> None:
        path = self.bound(tmp_path / "a.sock")
        os.chown(path, 65534, 65534)
        with pytest.raises(ControlError, match="belongs to uid 65534"):
            check_socket(str(path))

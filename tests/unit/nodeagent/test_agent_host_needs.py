"""What a host must grant: room in its neighbour table, checksums that are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from quilt_netlink import Address, Link, Put
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.hostneeds import kernel_version, neighbours_needed, thresholds
from quilt_nodeagent.core.underlay import Wishes
from quilt_nodeagent.kernel.hostcare import Checksum, HostCare, TxChecksum
from quilt_nodeagent.kernel.underlay import find_underlay
from tests.support.agent_doubles import eventually
from tests.support.agent_scene import fake_rig, mesh


class Device(TxChecksum):
    """A device whose driver refuses on request."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.on, self.refuses = True, refuses

    def get(self, device: str) -> bool:
        return self.on

    def set(self, device: str, *, on: bool) -> None:
        if self.refuses:
            raise OSError(95, "Operation not supported")
        self.on = on


@pytest.fixture
def sysctls(tmp_path: Path) -> Path:
    folder = tmp_path / "ipv4" / "neigh" / "default"
    folder.mkdir(parents=True)
    for number, value in ((1, 128), (2, 512), (3, 1024)):
        (folder / f"gc_thresh{number}").write_text(f"{value}\n")
    return tmp_path


def held(sysctls: Path) -> list[int]:
    folder = sysctls / "ipv4" / "neigh" / "default"
    return [int((folder / f"gc_thresh{number}").read_text()) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-12-amd64", (6, 1)), ("5.4-rc2+", (5, 4)), ("5.15.0", (5, 15)), ("strange", (0, 0))],
)
def test_releases_are_read(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


def test_row_12_old_kernels_need_room_for_all_peers_new_ones_for_those_on_the_link() -> None:
    assert neighbours_needed(5000, 0, (4, 19)) == 6024
    assert neighbours_needed(5000, 0, (5, 0)) == 1024
    assert neighbours_needed(5000, 300, (6, 1)) == 1324
    assert thresholds(6024, (128, 512, 1024)) == (1024, 4096, 8192)
    assert thresholds(1024, (128, 512, 1024)) is None
    assert thresholds(2000, (4096, 512, 1024)) == (4096, 1024, 2048)


def test_row_12_a_small_neighbour_table_is_enlarged_and_never_made_smaller(sysctls: Path) -> None:
    care = HostCare(sysctls, release="4.19.0")
    care.look("vxlan100", peers=5000, direct=0)
    assert (held(sysctls), care.warnings) == ([1024, 4096, 8192], ())
    care.look("vxlan100", peers=1, direct=0)
    assert held(sysctls) == [1024, 4096, 8192]


def test_row_12_where_it_may_not_be_set_the_status_says_what_to_set(sysctls: Path) -> None:
    third = sysctls / "ipv4" / "neigh" / "default" / "gc_thresh3"
    third.unlink()
    third.symlink_to("/proc/sys/kernel/cap_last_cap")  # a small number that not even root may set
    care = HostCare(sysctls, release="4.19.0")
    care.look("vxlan100", peers=5000, direct=0)
    (warning,) = care.warnings
    assert "net.ipv4.neigh.default.gc_thresh3" in warning
    assert "set it to 8192" in warning


async def test_a_neighbour_table_that_may_not_be_enlarged_is_reported_in_the_nodes_status(
    sysctls: Path,
) -> None:
    """cap_last_cap is some forty: fewer neighbours than any host needs."""
    third = sysctls / "ipv4" / "neigh" / "default" / "gc_thresh3"
    third.unlink()
    third.symlink_to("/proc/sys/kernel/cap_last_cap")
    async with fake_rig(sysctls) as rig:
        await mesh(rig, 2)

        def warned() -> bool:
            found = rig.condition("DataplaneInSync")
            return (
                found.get("reason") == "Warning" and "net.ipv4.neigh.default.gc_thresh3" in found["message"]
            )

        await eventually(warned)


@pytest.mark.parametrize(
    ("release", "checksum", "on"),
    [("4.19.0", "auto", False), ("5.7.0", "auto", True), ("6.1.0", "off", False), ("4.19.0", "on", True)],
)
def test_row_8_checksums_are_left_to_the_device_where_the_kernel_gets_them_right(
    tmp_path: Path, release: str, checksum: Checksum, on: bool
) -> None:
    device = Device()
    HostCare(tmp_path, checksum, device, release).look("vxlan100", 0, 0)
    assert device.on is on


def test_a_driver_that_refuses_is_logged_and_harms_nothing(tmp_path: Path) -> None:
    device = Device(refuses=True)
    care = HostCare(tmp_path, "off", device)
    care.look("vxlan100", 0, 0)
    assert device.on


@pytest.mark.parametrize("kind", ["dummy", "bridge"])
def test_the_interface_by_which_peers_are_reached_is_the_underlay(kind: str) -> None:
    """t18: Of the interfaces that have the host address the one counts by which peers are reached."""
    kernel = FakeKernel(
        [Link("eth0", kind="veth", mtu=1400, up=True), Link("kube-ipvs0", kind=kind, up=True)]
    )
    for name, address in (("eth0", "198.18.0.1/24"), ("kube-ipvs0", "198.18.0.1/32")):
        link = kernel.link(name)
        assert link is not None
        kernel.run(Put(Address(link.index, address)))
    found, _ = find_underlay(kernel, Wishes(internal_ips=("198.18.0.1",)))
    assert found is not None
    assert (found.name, found.mtu) == ("eth0", 1400)

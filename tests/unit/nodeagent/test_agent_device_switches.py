"""The switches that the agent sets for its VXLAN device when it makes it."""

from __future__ import annotations

from pathlib import Path

from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.overlay import VXLAN
from quilt_nodeagent.kernel.device import DeviceKeeper

DEVICE = VXLAN.device("vxlan100", "198.18.0.1", "02:00:00:00:01:00", 1450)


def test_a_device_forwards_whatever_the_hosts_default(tmp_path: Path) -> None:
    """t17: The agent switches forwarding on for the device that it makes, whatever new devices have."""
    folder = tmp_path / "ipv4" / "conf" / "vxlan100"
    folder.mkdir(parents=True)
    for name in ("forwarding", "rp_filter", "send_redirects"):
        (folder / name).write_text("0\n")
    _, repaired = DeviceKeeper(FakeKernel(), tmp_path).ensure(DEVICE, None)
    assert (folder / "forwarding").read_text() == "1"
    assert (folder / "rp_filter").read_text() == "2"
    assert "sysctl" in repaired

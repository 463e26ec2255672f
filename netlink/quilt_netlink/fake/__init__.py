"""An in-memory kernel with faults on demand, for tests of those who use the library."""

from quilt_netlink.fake.kernel import FakeKernel, FakeMonitor, Fault

__all__ = ["FakeKernel", "FakeMonitor", "Fault"]

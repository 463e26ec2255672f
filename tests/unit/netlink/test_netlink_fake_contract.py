"""The kernel in memory does what the contract says."""

from __future__ import annotations

import pytest

from quilt_netlink import KernelLike, Link, Put
from quilt_netlink.fake import FakeKernel
from tests.support.netlink_contract import KernelContract
from tests.support.netlink_parts import Other, device  # noqa: F401  # a fixture is used by being there


@pytest.fixture
def kernel() -> KernelLike:
    fake = FakeKernel()
    fake.run(Put(Link("lo", up=True)))
    return fake


@pytest.fixture
def other(kernel: FakeKernel) -> Other:
    second = FakeKernel()
    kernel.join(77, second)
    return second, 77


class TestFakeKernel(KernelContract):
    pass

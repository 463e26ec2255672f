"""The real kernel does what the contract says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.netlink_contract import KernelContract
from tests.support.netlink_parts import Other, device  # noqa: F401  # a fixture is used by being there


@pytest.fixture
def other(make_netns: Callable[[], Any]) -> Iterator[Other]:
    namespace = make_netns()
    descriptor = namespace.descriptor()
    with namespace.kernel() as kernel:
        yield kernel, descriptor
    os.close(descriptor)


@pytest.mark.kernel(short=True)
class TestRealKernel(KernelContract):
    pass

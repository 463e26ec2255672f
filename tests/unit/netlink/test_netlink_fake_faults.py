"""Each fault of the kernel in memory happens once, where its name says."""

from __future__ import annotations

import errno

import pytest

from quilt_netlink import Create, DumpInterruptedError, Link, Neighbour, NetlinkError, Op, Put, Vxlan
from quilt_netlink.fake import FakeKernel, Fault

DEVICE = Link("vxlan100", kind="vxlan", index=5, up=True, vxlan=Vxlan(100, 4789, "198.18.0.1"))


def neighbour(number: int) -> Neighbour:
    return Neighbour(5, f"10.42.{number}.0", f"02:00:00:00:{number:02x}:00")


@pytest.fixture
def fake() -> FakeKernel:
    return FakeKernel([DEVICE])


@pytest.mark.parametrize(
    ("fault", "number"), [("eexist", errno.EEXIST), ("enodev", errno.ENODEV), ("eperm", errno.EPERM)]
)
def test_a_write_is_refused_once(fake: FakeKernel, fault: Fault, number: int) -> None:
    fake.inject(fault)
    with pytest.raises(NetlinkError) as error:
        fake.run(Create(neighbour(1)))
    assert error.value.errno == number
    assert fake.neighbours(5) == []
    assert not fake.pending_faults
    fake.run(Create(neighbour(1)))
    assert fake.writes == 1


def test_eexist_waits_for_a_create(fake: FakeKernel) -> None:
    fake.inject("eexist")
    fake.run(Put(neighbour(1)))
    assert fake.pending_faults == {"eexist"}


def test_a_read_is_interrupted_once(fake: FakeKernel) -> None:
    fake.inject("dump_interrupted")
    with pytest.raises(DumpInterruptedError, match="try again"):
        fake.routes()
    assert fake.routes() == []


def test_half_of_a_batch_is_lost(fake: FakeKernel) -> None:
    ops: list[Op] = [Put(neighbour(number)) for number in range(10)]
    fake.inject("partial_batch")
    failures = fake.apply(ops)
    assert [failure.index for failure in failures] == [5, 6, 7, 8, 9]
    assert {failure.errno for failure in failures} == {errno.ENOBUFS}
    assert len(fake.neighbours(5)) == 5
    assert fake.apply([failure.op for failure in failures]) == []


def test_an_unknown_fault_is_an_error_of_the_test(fake: FakeKernel) -> None:
    with pytest.raises(ValueError, match="no fault 'eexsit'"):
        fake.inject("eexsit")  # type: ignore[arg-type]

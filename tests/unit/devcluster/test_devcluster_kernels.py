"""Other kernels: what is chosen, counted and packed is what was meant, and nothing is left out silently."""

from __future__ import annotations

import io
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.kernels import cpio, packages, results
from quilt_devcluster.kernels.files import Tree
from quilt_devcluster.kernels.plan import Choice, Lack, OtherKernel, choose, named, read_plan
from quilt_devcluster.kernels.runs import plan_file

ROOT = Path(__file__).parents[3]
TESTS = [
    "tests/netns/a.py::one",
    "tests/netns/a.py::two[x]",
    "tests/netns/a.py::two[y]",
    "tests/netns/b.py::C::three",
]


def kernel(*tests: str) -> OtherKernel:
    lacks = (Lack("no such thing", tests),) if tests else ()
    return OtherKernel("5.10", "5.10", "bullseye", lacks=lacks)


def report(*bodies: str) -> str:
    cases = "".join(f'<testcase classname="a" name="t{n}">{body}</testcase>' for n, body in enumerate(bodies))
    return f"<testsuites><testsuite>{cases}</testsuite></testsuites>\r\n"


@pytest.mark.parametrize(
    ("listed", "deselected"),
    [
        ((), ()),
        (("tests/netns/a.py::two",), ("tests/netns/a.py::two[x]", "tests/netns/a.py::two[y]")),
        (("tests/netns/a.py::two[y]", "tests/netns/b.py::C::three"), (TESTS[2], TESTS[3])),
    ],
)
def test_what_a_kernel_lacks_is_left_out_by_its_name(
    listed: tuple[str, ...], deselected: tuple[str, ...]
) -> None:
    choice = choose(kernel(*listed), TESTS, TESTS)
    assert choice.deselected == deselected
    assert sorted((*choice.run, *choice.deselected)) == sorted(TESTS)


def test_a_listed_name_that_no_test_has_is_an_error() -> None:
    with pytest.raises(DevclusterError, match=r"a.py::tw, tests/netns/c.py::one"):
        choose(kernel("tests/netns/a.py::tw", "tests/netns/c.py::one"), TESTS, TESTS)


def test_a_listed_name_may_be_that_of_a_test_outside_the_short_choice() -> None:
    assert choose(kernel(TESTS[0]), TESTS[1:], TESTS) == Choice(tuple(TESTS[1:]), ())


def test_kernels_are_found_by_name() -> None:
    kernels = read_plan(plan_file(ROOT).read_text())
    assert [(one.series, one.options) for one in kernels] == [
        ("5.10", ""),
        ("6.1", ""),
        ("6.1", "ipv6.disable=1"),
        ("6.12", ""),
    ]
    assert named(kernels, ["6.12"]) == kernels[3:]
    assert named(kernels, []) == kernels
    with pytest.raises(DevclusterError, match=r"'7\.0'"):
        named(kernels, ["7.0"])


@pytest.mark.parametrize("text", ["[kernel.x]\nseries = '6.1'\n", "kernel = 1", "[[["])
def test_a_list_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(DevclusterError, match="not understood"):
        read_plan(text)


def test_what_did_not_pass_failed_skipped_and_lost_tests_too() -> None:
    choice = Choice(("a::t0", "a::t1", "a::t2", "a::t3", "a::t4"), ("a::t5",))
    text = report("", "<failure/>", "<skipped/>", "<error/>")
    outcome = results.read_report(text, "6.1.0", choice)
    assert outcome == results.Outcome("6.1.0", 1, ("a::t1", "a::t2", "a::t3", "1 tests never ran"), 1)
    assert not outcome.good
    assert results.read_report(report(""), "6.1.0", Choice(("a::t0",), ())).good
    assert not results.read_report(report(), "6.1.0", Choice((), ())).good
    with pytest.raises(DevclusterError, match=r"6\.1\.0"):
        results.read_report("<testsuites>", "6.1.0", choice)


def test_counts_are_reported_for_each_kernel() -> None:
    outcomes = [(kernel("a::one"), results.Outcome("5.10.0", 7, ("a::two",), 1))]
    text = results.page([kernel("a::one")], outcomes)
    assert "| 5.10 | 5.10.0 | 7 | 1 | 1 |" in text
    assert "**5.10**: no such thing" in text
    assert results.complaint(outcomes) == "Kernel 5.10: a::two."


def test_a_kernel_that_does_not_run_now_keeps_its_counts_on_the_page() -> None:
    older = replace(kernel(), name="4.19")
    before = results.page(
        [], [(kernel(), results.Outcome("5.10.0", 7, (), 1)), (older, results.Outcome("4.19.1", 3, (), 0))]
    )
    after = results.page([], [(kernel(), results.Outcome("5.10.9", 8, (), 0))], before)
    rows = [line for line in after.splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| 4.19 | 4.19.1 | 3 | 0 | 0 |", "| 5.10 | 5.10.9 | 8 | 0 | 0 |"]


def test_the_page_says_what_the_list_says() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text()
    kernels = read_plan(plan_file(ROOT).read_text())
    assert text.endswith(results.lacks(kernels))


@pytest.mark.parametrize("own", ["bookworm", "trixie"])
def test_another_release_has_the_sources_of_this_one(own: str) -> None:
    text = f"Suites: {own} {own}-updates\nURIs: http://example.org/debian\nSigned-By: /k/{own}x.gpg"
    assert packages.source_text(text, own, "bullseye") == (
        f"Suites: bullseye bullseye-updates\nURIs: http://example.org/debian\nSigned-By: /k/{own}x.gpg"
    )


def test_the_newest_kernel_of_a_series_comes_first() -> None:
    names = [f"linux-image-{name}" for name in (
        "6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1.0-56-amd64", "6.12.3+deb13-cloud-amd64",
        "6.1.0-56-cloud-amd64-unsigned", "cloud-amd64",
    )]  # fmt: skip
    assert packages.candidates(names, "6.1") == [names[1], names[0]]
    assert packages.candidates(names, "6.12") == [names[3]]


paths = st.lists(st.text("abcü", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=40), max_size=6))
def test_an_archive_holds_what_was_put_in(files: dict[str, bytes]) -> None:
    sink = io.BytesIO()
    cpio.write(sink, (cpio.Entry(path, stat.S_IFREG | 0o644, content) for path, content in files.items()))
    assert unpacked(sink.getvalue()) == files


def unpacked(data: bytes) -> dict[str, bytes]:
    """Read an archive as the kernel does (init/initramfs.c)."""
    at, found = 0, {}
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += (110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        found[name] = data[at : at + size]
        at += (size + 3) & ~3


def test_a_tree_leads_to_its_files_through_the_same_links(tmp_path: Path) -> None:
    (tmp_path / "usr" / "lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr" / "lib" / "x.so.1").write_text("x")
    (tmp_path / "usr" / "lib" / "x.so").symlink_to("x.so.1")
    tree = Tree()
    tree.add(tmp_path / "lib" / "x.so")
    tree.write("/etc/y", "y")
    base = str(tmp_path).lstrip("/")
    entries = {entry.path: entry.content for entry in tree.entries()}
    assert entries[f"{base}/lib"] == b"usr/lib"
    assert entries[f"{base}/usr/lib/x.so"] == b"x.so.1"
    assert entries[f"{base}/usr/lib/x.so.1"] == b"x"
    assert entries["etc/y"] == b"y"
    order = list(entries)
    assert all(order.index(str(Path(path).parent)) < order.index(path) for path in order if "/" in path)


def test_the_first_process_is_a_script_that_a_shell_understands() -> None:
    script = ROOT / "devcluster" / "quilt_devcluster" / "assets" / "kernel-init.sh"
    subprocess.run(["sh", "-n", script], check=True)

"""What devices and dropping rules counted while the probes ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from quilt_cli.core.nft_listing import packets
from quilt_cli.core.objects import at
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.nft_text import text_of
from quilt_cli.core.trace.site import Site
from quilt_cli.core.trace.step import Counter

_DEVICE = (
    ("rx", "packets"),
    ("tx", "packets"),
    ("rx", "dropped"),
    ("tx", "dropped"),
    ("rx", "errors"),
    ("tx", "errors"),
)
# What is always of interest, also where it counted nothing.
_ALWAYS = "packets"


def counters(sites: Iterable[Site], before: Mapping[str, Kernel], device: str) -> Iterator[Counter]:
    """Return the differences, of the overlay's device and of each rule that drops."""
    for site in {site.name: site for site in sites}.values():
        if (was := before.get(site.name)) is None or site.kernel is None:
            continue
        for way, name in _DEVICE:
            count = _of_device(site.kernel, device, way, name) - _of_device(was, device, way, name)
            if count or name == _ALWAYS:
                yield Counter(site.name, f"{device} {way} {name}", count)
        held = _drops(was)
        for key, (text, count) in _drops(site.kernel).items():
            if count > held.get(key, (text, 0))[1]:
                yield Counter(site.name, text, count - held.get(key, (text, 0))[1])


def _of_device(kernel: Kernel, device: str, way: str, name: str) -> int:
    return int(at(kernel.link(device) or {}, "stats64", way, name) or 0)


def _drops(kernel: Kernel) -> dict[tuple[str, ...], tuple[str, int]]:
    """Text and count of each rule that counts and drops, by where it is."""
    found = {}
    for rule in kernel.nft("rule"):
        expressions = rule.get("expr") or ()
        if any("drop" in item or "reject" in item for item in expressions):
            key = tuple(str(rule.get(part)) for part in ("family", "table", "chain", "handle"))
            found[key] = (text_of(rule), packets(rule))
    return found

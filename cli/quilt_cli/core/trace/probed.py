"""What packets that were really sent came to: between two nodes in each direction, and to the pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field

from quilt_cli.core.trace.site import End, Site
from quilt_cli.core.trace.step import ANSWER, UNDERLAY, UNDERLAY_MTU, Step, step

# Seconds that two probes must have run side by side for silence to mean something.
_TOGETHER = 2.0
_APART = "none arrived, but the nodes did not probe at the same time; try again"


class Knock(Struct, frozen=True):
    """One address that was asked for an answer; a refusal is one too. `detail` says what came."""

    address: str
    protocol: str
    port: int
    ok: bool
    detail: str = ""


class Probed(Struct, frozen=True):
    """What one node sent to its peer and received of it, small and of full size, and who answered it.

    `began` and `ended` are by the node's clock; `error` is why nothing could be sent.
    """

    sent: int = 0
    received: int = 0
    full_sent: int = 0
    full_received: int = 0
    size: int = 0
    error: str = ""
    began: float = 0.0
    ended: float = 0.0
    knocks: tuple[Knock, ...] = ()


Results = Mapping[str, Probed | str]
"""By node, or why a node has none."""


def between(source: Site, target: Site, results: Results, port: int) -> Iterator[Step]:
    """One direction: small packets, then those of full size."""
    sender, receiver = results.get(source.name, "not asked"), results.get(target.name, "not asked")
    what = f"packets {source.name} → {target.name}"
    see = target.by_hand(f"tcpdump -ni any udp port {port} and host {source.host_ip}")
    if isinstance(sender, str) or isinstance(receiver, str):
        why = "; ".join(answer for answer in (sender, receiver) if isinstance(answer, str))
        yield step(UNDERLAY, "", what, "they arrive", why, see, ok=None)
        return
    yield _small(what, sender, receiver, see)
    if receiver.received:
        yield _full(f"packets of {sender.size} bytes {source.name} → {target.name}", sender, receiver, see)


def _small(what: str, sender: Probed, receiver: Probed, see: str) -> Step:
    if error := sender.error or receiver.error:
        return step(UNDERLAY, "", what, "they arrive", error, see, ok=False if sender.error else None)
    found = f"{receiver.received or f'none of {sender.sent}'} arrived"
    # What came back shows that both ran at the same time; else their clocks must.
    if not receiver.received and not sender.received and not _together(sender, receiver):
        return step(UNDERLAY, "", what, "they arrive", _APART, see, ok=None)
    return step(UNDERLAY, "", what, "they arrive", found, see, ok=bool(receiver.received))


def _full(what: str, sender: Probed, receiver: Probed, see: str) -> Step:
    found = f"{receiver.full_received or f'none of {sender.full_sent}'} arrived"
    found = found if sender.full_sent else "none could be sent"
    if sender.full_sent and not receiver.full_received and not _together(sender, receiver):
        return step(UNDERLAY_MTU, "", what, "they arrive", _APART, see, ok=None)
    return step(UNDERLAY_MTU, "", what, "they arrive", found, see, ok=bool(receiver.full_received))


def _together(one: Probed, other: Probed) -> bool:
    """Whether both ran side by side for long enough that silence means something."""
    return min(one.ended, other.ended) - max(one.began, other.began) >= _TOGETHER


def answer(site: Site, end: End, results: Results, refused: str) -> Step:
    """Whether an end answers a node; `refused` is the policy that would keep it from that."""
    what = f"{end.name} answers {site.name}"
    see = site.by_hand(f"ping -c1 {end.address}")
    result = results.get(site.name, "not asked")
    if isinstance(result, str):
        return step(ANSWER, "", what, "an answer", result, see, ok=None)
    knock = next((one for one in result.knocks if one.address == str(end.address)), None)
    if knock is None:
        return step(ANSWER, "", what, "an answer", "not asked", see, ok=None)
    port = f"/{knock.port}" if knock.port else ""
    found = f"{knock.protocol}{port}: {knock.detail}"
    if not knock.ok and refused:
        return step(ANSWER, "", what, "an answer", f"{found}; {refused} denies it", see, ok=None)
    return step(ANSWER, "", what, "an answer", found, see, ok=knock.ok)


class Asking(Struct, frozen=True):
    """What a node is to probe: its peer's address inside the mesh, and addresses that are to answer."""

    own: str = ""
    peer: str = ""
    size: int = 0
    knocks: tuple[str, ...] = field(default_factory=tuple)

    def arguments(self) -> Sequence[str]:
        """As flags of `quiltctl node probe`."""
        pair = [f"--own={self.own}", f"--peer={self.peer}", f"--size={self.size}"] if self.peer else []
        return [*pair, *(f"--knock={one}" for one in self.knocks)]

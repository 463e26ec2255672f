"""One peer: what was sent to it and came from it, and what that says about each direction.

Evidence of a direction is with its receiving end, for loss is only seen there. What this node receives it
sees itself; of what it sends the peer's probes tell. When nothing comes at all, the path may be broken or the
peer may not send: it counts as broken only once there is proof, by another way, that the peer does probe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from quilt_probes.core.window import Window, loss
from quilt_probes.core.wire import Probe, Receipt

INTERVAL = 2.0
"""Seconds between probes to one peer."""
LOST = 5
"""So many in a row lost, and a direction fails."""
BACK = 3
"""So many in a row received, and it works again."""
SILENT = INTERVAL * LOST
"""Seconds without a probe until a peer counts as silent."""
SETTLE = 5.0
"""Seconds that a peer may need from its proof of life to its first probe: its agent may just have started."""
PROOF_HOLDS = 150.0
"""Seconds for which a failing direction is believed without another proof that the peer probes."""
FULL_EVERY = 10
"""Each so many probes one of full size is sent as well."""
FULL_LOST = 3
"""So many of full size lost while others arrive, and the path's MTU is too small."""

OK: Final = "ok"
FAILING: Final = "failing"
UNKNOWN: Final = "unknown"

_RECENT = (1 << BACK) - 1


@dataclass(slots=True)
class Link:
    """This node and one peer; `run` is random and not 0. Times in seconds of the monotonic clock.

    `inward` and `outward` are the state of each direction: ok, failing or unknown. `narrow` tells that
    packets of full size are lost on the way to the peer.
    """

    run: int
    since: float
    due: float
    inward: str = UNKNOWN
    outward: str = UNKNOWN
    narrow: bool = False
    number: int = 0
    window: Window = field(default_factory=Window)
    full: int = 0
    last_in: float = 0.0
    proof: float = float("-inf")
    times: deque[float] = field(default_factory=lambda: deque(maxlen=30))
    _echo: int = 0
    _arrived: int = 0
    _receipt: Receipt = field(default_factory=Receipt)
    _base: int = -1
    _since_run: int = 0
    _behind: int = 0
    _fulls: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.last_in = self.since

    def next_number(self) -> int:
        """Number of the probe that is sent now."""
        self.number += 1
        return self.number

    @property
    def full_due(self) -> bool:
        """Whether the probe just numbered is followed by one of full size."""
        return self.number % FULL_EVERY == 1

    def probe(self, wall: int, *, full: bool = False) -> Probe:
        """Return the probe of the present number as it is sent at `wall` (ns of the wall clock)."""
        if full:
            self._fulls = (*self._fulls[1 - FULL_LOST :], self.number)
        window = self.window
        held = wall - self._arrived if self._echo else 0
        receipt = Receipt(window.run, window.last, window.bits, self.full, self._echo, held)
        return Probe(self.run, self.number, wall, receipt, full)

    def accept(self, probe: Probe, arrived: int, now: float) -> None:
        """Take in a probe that arrived at `arrived` (ns of the wall clock)."""
        restarted = probe.run != self.window.run
        newest = self.window.accept(probe.run, probe.number)
        self.last_in = now
        if restarted:
            # What was sent before counts no more: the peer's agent was not there, or did not watch this node.
            self.full, self._base, self._since_run, self._behind = 0, -1, self.number, 0
            self._fulls = ()
        if probe.full:
            self.full = max(self.full, probe.number)
        if newest:
            self._echo, self._arrived = probe.sent, arrived
            self._take_receipt(probe.receipt, arrived)
        if self.inward != FAILING or self.window.bits & _RECENT == _RECENT:
            self.inward = OK

    def _take_receipt(self, receipt: Receipt, arrived: int) -> None:
        known = receipt.run == self.run
        if known:
            if self._base < 0:
                self._base = receipt.last - 1
            self._measure(receipt, arrived)
            self._receipt = receipt
            self._judge_full(receipt)
        # One is on its way, or waits there to be read.
        self._behind = max(self.number - max(receipt.last if known else 0, self._since_run) - 1, 0)
        if self._behind >= LOST:
            self.outward = FAILING
        elif known and (self.outward != FAILING or (self._behind <= 1 and receipt.bits & _RECENT == _RECENT)):
            self.outward = OK

    def _measure(self, receipt: Receipt, arrived: int) -> None:
        """Note the time there and back, once for each probe that the peer echoes."""
        if receipt.echo and receipt.last != self._receipt.last:
            seconds = (arrived - receipt.echo - receipt.held) / 1e9
            # A wall clock that was set meanwhile gives what no path needs.
            if 0 <= seconds < SILENT:
                self.times.append(seconds)

    def _judge_full(self, receipt: Receipt) -> None:
        sent = self._fulls
        if sent and receipt.full >= sent[-1]:
            self.narrow = False
        elif len(sent) == FULL_LOST and receipt.full < sent[0] and receipt.last > sent[-1]:
            self.narrow = True

    def judge(self, now: float) -> None:
        """Draw conclusions from silence; call it after what came was accepted."""
        silent = self.silent_for(now)
        if silent < SILENT:
            return
        proven = self.proof > self.last_in and now - self.proof < PROOF_HOLDS
        if proven and now - self.proof >= SETTLE:
            self.inward = FAILING
        elif not proven:
            self.inward = UNKNOWN
        # Of its own direction nothing is reported any more: what failed fails on while the peer probes.
        if self.outward == OK or (not proven and silent >= PROOF_HOLDS):
            self.outward, self.narrow = UNKNOWN, False

    def silent_for(self, now: float) -> float:
        """Seconds since the peer's last probe, or since this node began to watch it."""
        return now - self.last_in

    @property
    def broken(self) -> bool:
        """Whether anything about it fails."""
        return self.narrow or FAILING in (self.inward, self.outward)

    @property
    def loss_in(self) -> float:
        """Share of the peer's last probes that did not arrive here, 0 to 1."""
        return 1.0 if self.inward == FAILING else self.window.loss

    @property
    def loss_out(self) -> float:
        """Share of this node's last probes that did not arrive at the peer, as far as it reported."""
        receipt = self._receipt
        return loss(receipt.bits, receipt.last - max(self._base, 0), self._behind)

    @property
    def round_trip(self) -> float | None:
        """Median of the last minute in seconds, None where nothing was measured."""
        return median(self.times) if self.times else None
